// Sampling on the device against the host's Sampler.
#include "base/rng.h"
#include "kernels/api/counter_rng.h"
#include "tests/kernels/cuda/sampling_case.h"

namespace slipstream::kernels {
namespace {

using Rows = std::vector<std::vector<float>>;

enum class Shape { kFlat, kPeaked, kRounded, kFewValues, kHoles };

std::vector<float> RandomRow(int vocab, Shape shape, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> x(vocab);
  for (float& v : x) {
    v = normal(rng);
    if (shape == Shape::kPeaked || shape == Shape::kRounded) v *= 3.0f;
    if (shape == Shape::kRounded) v = std::round(v * 16) / 16;  // many ties, as 16-bit logits have
    if (shape == Shape::kFewValues) v = std::round(v);
    if (shape == Shape::kHoles && rng() % 4 != 0) v = -INFINITY;
  }
  if (shape == Shape::kHoles) x[rng() % vocab] = 1.0f;
  return x;
}

Rows RandomRows(int vocab, int count, uint32_t seed) {
  std::mt19937 rng(seed);
  Rows rows;
  for (int r = 0; r < count; ++r) rows.push_back(RandomRow(vocab, static_cast<Shape>(r % 5), rng));
  return rows;
}

SamplingParams RandomParams(int vocab, std::mt19937& rng) {
  const auto pick = [&](auto... options) {
    const float list[] = {static_cast<float>(options)...};
    return list[rng() % (sizeof(list) / sizeof(list[0]))];
  };
  SamplingParams p;
  p.temperature = pick(0.0, 0.3, 0.7, 1.0, 1.0, 1.7, 30.0);
  p.top_k = static_cast<int>(pick(0, 0, 0, -1, 1, 2, 50, 700, 769, 3000, vocab - 1, vocab));
  p.top_p = pick(1.0, 1.0, 0.9, 0.95, 0.5, 1e-6, 0.999);
  p.min_p = pick(0.0, 0.0, 0.0, 0.05, 0.5, 1.0, 1e-4);
  p.num_logprobs = static_cast<int>(pick(-1, -1, 0, 5, 20));
  if (rng() % 3 == 0) {
    p.repetition_penalty = pick(1.0, 1.3, 0.8);
    p.presence_penalty = pick(0.0, 0.7, -0.5);
    p.frequency_penalty = pick(0.0, 0.2, -0.1);
  }
  return p;
}

std::vector<int32_t> RandomIds(int vocab, size_t count, std::mt19937& rng) {
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng() % vocab);
  return ids;
}

std::vector<SampleCase> RandomCases(int vocab, int num_rows, int count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<SampleCase> cases;
  for (int i = 0; i < count; ++i) {
    SampleCase c{.params = RandomParams(vocab, rng), .row = i % num_rows, .seed = rng()};
    c.prompt = RandomIds(vocab, rng() % 200, rng);
    c.output = RandomIds(vocab, rng() % 50, rng);
    if (rng() % 4 == 0) {
      for (int32_t id : RandomIds(vocab, 1 + rng() % 40, rng)) {
        c.params.logit_bias.emplace_back(id, static_cast<float>(rng() % 200) / 10.0f - 10.0f);
      }
      c.params.logit_bias.emplace_back(vocab - 1, 3.0f);
      c.params.logit_bias.emplace_back(0, 3.0f);
      c.params.logit_bias.emplace_back(vocab - 1, 2.5f);  // twice
    }
    if (rng() % 4 == 0) {
      c.params.min_tokens = static_cast<int>(c.output.size()) + 2;
      c.stops = RandomIds(vocab, 1 + rng() % 60, rng);
    }
    if (rng() % 6 == 0) {
      c.allowed = RandomIds(vocab, 1 + rng() % vocab, rng);
      c.allowed.push_back(vocab - 1);
    }
    if (rng() % 10 == 0) {
      c.target = static_cast<int32_t>(rng() % vocab);
      c.allowed.clear();
      c.params.num_prompt_logprobs = static_cast<int>(rng() % 3) * 7;
    }
    cases.push_back(c);
  }
  return cases;
}

void CheckAgreement(const SampleOutcome& o) {
  std::printf("%d of %d draws differ from the host's\n", o.differ, o.draws);
  EXPECT_LE(o.differ, std::max(1, o.draws / 1000));
}

void RunRandom(int vocab, int num_rows, int num_cases, int steps, int64_t stride_over = 8) {
  SLIP_REQUIRE_DEVICE();
  const Rows rows = RandomRows(vocab, num_rows, 10 + vocab);
  SampleBatch batch(vocab, rows, RandomCases(vocab, num_rows, num_cases, vocab), stride_over);
  SampleOutcome outcome;
  for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) batch.Step(outcome);
  if (::testing::Test::HasFailure()) return;
  CheckAgreement(outcome);
  batch.CheckState();
}

TEST(CudaSampling, RandomTinyVocabulary) { RunRandom(37, 10, 250, 8); }
TEST(CudaSampling, RandomSmallVocabulary) { RunRandom(3000, 20, 250, 8); }
TEST(CudaSampling, RandomOddVocabularyAndStride) { RunRandom(32003, 20, 200, 4, 1); }
TEST(CudaSampling, RandomLlamaVocabulary) { RunRandom(128256, 20, 250, 6); }
TEST(CudaSampling, RandomGemmaVocabulary) { RunRandom(262144, 10, 100, 3); }

TEST(CudaSampling, UniformIsTheHosts) {
  for (uint64_t i = 0; i < 1000; ++i) {
    const uint64_t seed = slipstream::MixBits(i);
    ASSERT_EQ(kernels::UniformAt(seed, i), slipstream::UniformAt(seed, i));
  }
}

// Every draw in one: the same token in a batch of its own and in a large one.
TEST(CudaSampling, IndependentOfTheBatch) {
  SLIP_REQUIRE_DEVICE();
  const int vocab = 50257;
  const Rows rows = RandomRows(vocab, 10, 3);
  std::vector<SampleCase> cases = RandomCases(vocab, 10, 64, 4);
  const auto together = SampleBatch(vocab, rows, cases).LaunchOnly();
  for (size_t i = 0; i < cases.size(); i += 7) {
    const auto alone = SampleBatch(vocab, rows, {cases[i]}).LaunchOnly();
    EXPECT_EQ(std::memcmp(&alone[0], &together[i], sizeof(alone[0])), 0) << Describe(cases[i]);
  }
}

TEST(CudaSampling, TiesGoToTheLowestId) {
  SLIP_REQUIRE_DEVICE();
  const int vocab = 100000;
  Rows rows(3, std::vector<float>(vocab, 1.5f));
  rows[1][0] = 1.0f, rows[1][1] = 1.0f;
  for (int i = 0; i < vocab; ++i) rows[2][i] = i % 2 ? -0.0f : 0.0f;
  std::vector<SampleCase> cases;
  for (int r = 0; r < 3; ++r) {
    cases.push_back({.params = {.temperature = 0, .num_logprobs = 20}, .row = r});
    cases.push_back({.params = {.top_k = 1, .num_logprobs = 0}, .row = r});
    for (const int top_k : {2, 50, 5000, 99999}) {
      cases.push_back({.params = {.top_k = top_k, .num_logprobs = 3}, .row = r});
      cases.push_back({.params = {.top_k = top_k, .top_p = 0.3f}, .row = r});
    }
    cases.push_back({.params = {.top_p = 0.2f}, .row = r, .seed = 9});
    cases.push_back({.params = {.top_p = 0.5f, .min_p = 0.9f}, .row = r, .seed = 9});
    cases.push_back({.params = {.num_prompt_logprobs = 20}, .row = r, .target = 70000});
  }
  SampleBatch batch(vocab, rows, cases);
  SampleOutcome outcome;
  for (int i = 0; i < 4 && !HasFailure(); ++i) batch.Step(outcome);
  CheckAgreement(outcome);
}

TEST(CudaSampling, RowsThatAreNotFinite) {
  SLIP_REQUIRE_DEVICE();
  const int vocab = 5000;
  std::mt19937 rng(8);
  Rows rows(5, RandomRow(vocab, Shape::kPeaked, rng));
  rows[0][4999] = std::nanf("");
  rows[1][17] = INFINITY;
  rows[2].assign(vocab, -INFINITY);
  rows[3].assign(vocab, -INFINITY), rows[3][4321] = -7.0f;  // one finite entry is enough
  std::vector<SampleCase> cases;
  for (int r = 0; r < 5; ++r) {
    for (const float temperature : {0.0f, 1.0f}) {
      for (const float top_p : {1.0f, 0.9f}) {
        cases.push_back({.params = {.temperature = temperature, .top_p = top_p}, .row = r});
        cases.push_back(
            {.params = {.temperature = temperature, .top_p = top_p, .num_logprobs = 5}, .row = r});
      }
    }
    cases.push_back({.params = {.num_prompt_logprobs = 3}, .row = r, .target = 2});
    // The NaN and the infinity are masked: a token comes out, but its logprob does not.
    for (const int logprobs : {-1, 2}) {
      cases.push_back(
          {.params = {.min_tokens = 9, .num_logprobs = logprobs}, .row = r, .stops = {4999, 17}});
    }
  }
  SampleBatch batch(vocab, rows, cases);
  SampleOutcome outcome;
  for (int i = 0; i < 3 && !HasFailure(); ++i) batch.Step(outcome);
  CheckAgreement(outcome);
  batch.CheckState();
}

TEST(CudaSampling, Refusals) {
  SampleTokensParams p;
  EXPECT_EQ(SampleTokens(p, false, nullptr), KernelStatus::kOk);  // nothing to do
  p.num_tasks = 1;
  EXPECT_EQ(SampleTokens(p, false, nullptr), KernelStatus::kInvalidArgument);
  EXPECT_EQ(LoadSamplingSlots(nullptr, nullptr, 1, {}, nullptr), KernelStatus::kInvalidArgument);
}

}  // namespace
}  // namespace slipstream::kernels
