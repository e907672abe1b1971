// Steps through the runner on a fixture: sampled ids and scores follow from the reference logits,
// and a step that lies about itself is an error.
#include "runtime/model_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/token_constraint.h"
#include "model/decoder_model.h"
#include "runtime/kv_cache.h"
#include "runtime/perplexity.h"
#include "tests/model/golden_harness.h"
#include "tests/model/reference_backend.h"

namespace slipstream::testing {
namespace {

Result<StepOutput> RunStep(ModelRunner& runner, const ForwardInput& input) {
  SLIP_RETURN_IF_ERROR(runner.Submit(input));
  return runner.Collect();
}

class RunnerTest : public ::testing::Test {
 protected:
  RunnerTest() : fixture_(LoadFixture("smollm")) {
    engine_.max_num_seqs = 4;
    engine_.max_batch_tokens = 64;
    auto runner =
        ModelRunner::Create(*fixture_.checkpoint, engine_, RuntimeConfig{}, MakeReferenceBackend());
    EXPECT_TRUE(runner) << (runner ? "" : runner.error().message);
    if (runner) runner_ = std::move(*runner);
  }

  int64_t vocab() const { return fixture_.checkpoint->config().vocab_size; }
  int32_t ArgmaxAt(int row) const {
    const auto begin = fixture_.logits.begin() + row * vocab();
    return static_cast<int32_t>(std::max_element(begin, begin + vocab()) - begin);
  }
  double LogprobAt(int row, int32_t token) const {
    const float* x = fixture_.logits.data() + row * vocab();
    double sum = 0;
    for (int64_t i = 0; i < vocab(); ++i) sum += std::exp(static_cast<double>(x[i]));
    return x[token] - std::log(sum);
  }

  // Tokens [begin, end) of the fixture's sequence in blocks 5, 4, 3, ...
  ForwardInput Step(int begin, int end) const {
    ForwardInput in;
    in.query_start = {0, end - begin};
    in.kv_len = {end};
    in.max_blocks = 5;
    in.block_tables = {5, 4, 3, 2, 1};
    for (int p = begin; p < end; ++p) {
      in.token_ids.push_back(fixture_.token_ids[p]);
      in.positions.push_back(p);
      in.slot_ids.push_back(in.block_tables[p / 16] * 16 + p % 16);
    }
    return in;
  }
  static void Load(ForwardInput& in, const SamplingParams& params) {
    in.slot_updates.push_back({.slot = 1, .params = std::make_shared<SamplingParams>(params)});
  }

  GoldenFixture fixture_;
  EngineConfig engine_;
  std::unique_ptr<ModelRunner> runner_;
};

TEST_F(RunnerTest, InfoDescribesModelAndMemory) {
  const ExecutorInfo& info = runner_->info();
  EXPECT_EQ(info.vocab_size, 192);
  EXPECT_EQ(info.max_model_len, 256);
  EXPECT_EQ(info.num_blocks, 16);
  EXPECT_EQ(info.eos_token_ids, std::vector<int32_t>{2});
}

TEST_F(RunnerTest, GreedyTokensFollowTheReferenceLogits) {
  ForwardInput prefill = Step(0, 20);
  Load(prefill, {.temperature = 0});
  prefill.sample_rows = {{.row = 19, .slot = 1}};
  auto out = RunStep(*runner_, prefill);
  ASSERT_TRUE(out) << out.error().message;
  ASSERT_EQ(out->tokens.size(), 1u);
  EXPECT_EQ(out->tokens[0].token, ArgmaxAt(19));
  ForwardInput decode = Step(20, 21);
  decode.sample_rows = {{.row = 0, .slot = 1}};
  out = RunStep(*runner_, decode);
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_EQ(out->tokens[0].token, ArgmaxAt(20));
}

TEST_F(RunnerTest, TokenOfTheSlotStandsForItsId) {
  const auto second_token = [&](bool by_slot) {
    ForwardInput prefill = Step(0, 20);
    Load(prefill, {.temperature = 0});
    prefill.sample_rows = {{.row = 19, .slot = 1}};
    EXPECT_TRUE(RunStep(*runner_, prefill));
    ForwardInput decode = Step(20, 21);
    decode.token_ids = {by_slot ? -1 - 1 : ArgmaxAt(19)};
    decode.sample_rows = {{.row = 0, .slot = 1}};
    const auto out = RunStep(*runner_, decode);
    EXPECT_TRUE(out) << (out ? "" : out.error().message);
    return out ? out->tokens[0].token : -1;
  };
  EXPECT_EQ(second_token(true), second_token(false));
  ForwardInput unknown = Step(0, 1);
  unknown.token_ids = {-1 - 3};
  EXPECT_FALSE(RunStep(*runner_, unknown));
}

TEST_F(RunnerTest, PooledStatesDoNotDependOnWhatIsSampled) {
  const auto pooled = [&](bool samples, int row, int count) {
    ForwardInput in =
        Step(0, 48);  // more rows than the 32 that the runner makes logits for at once
    Load(in, {.temperature = 0});
    in.pool_runs = {{.row = row, .count = count}};
    if (samples) in.sample_rows = {{.row = 2, .slot = 1}, {.row = 47, .slot = 1}};
    auto out = RunStep(*runner_, in);
    EXPECT_TRUE(out) << (out ? "" : out.error().message);
    if (!out) return std::vector<double>();
    EXPECT_EQ(out->tokens.size(), in.sample_rows.size());
    if (samples) {
      EXPECT_EQ(out->tokens[0].token, ArgmaxAt(2));
      EXPECT_EQ(out->tokens[1].token, ArgmaxAt(47));
    }
    return out->pooled.at(0).sum;
  };
  for (const auto& [row, count] : {std::pair(0, 48), {5, 40}, {47, 1}}) {
    const std::vector<double> alone = pooled(false, row, count);
    EXPECT_FALSE(alone.empty());
    EXPECT_EQ(pooled(true, row, count), alone) << row << " " << count;
  }
}

TEST_F(RunnerTest, HiddenStatesNeedNoHead) {
  const auto backend = MakeReferenceBackend();
  auto model = BuildModel(*fixture_.checkpoint, *backend);
  ASSERT_TRUE(model);
  ASSERT_TRUE((*model)->Reserve(LimitsFor(*backend, 64)));
  const ModelConfig& config = (*model)->config();
  auto kv = KvCache::Create({.num_layers = config.num_layers,
                             .num_blocks = 6,
                             .num_kv_heads = static_cast<int>(config.num_kv_heads),
                             .block_size = 16,
                             .head_dim = static_cast<int>(config.head_dim)},
                            *backend);
  ASSERT_TRUE(kv);
  const auto logit_rows = [&](int num_tokens, bool hidden_wanted) {
    const ForwardInput in = Step(0, num_tokens);
    const std::vector<int32_t> wanted = {num_tokens - 1};
    const auto logits = (*model)->Forward({.token_ids = in.token_ids,
                                           .batch = {.num_seqs = 1,
                                                     .num_tokens = num_tokens,
                                                     .query_start = in.query_start.data(),
                                                     .kv_len = in.kv_len.data(),
                                                     .block_tables = in.block_tables.data(),
                                                     .max_blocks = in.max_blocks,
                                                     .positions = in.positions.data(),
                                                     .slot_ids = in.slot_ids.data()},
                                           .logit_rows = wanted,
                                           .hidden_wanted = hidden_wanted},
                                          kv->layers());
    EXPECT_TRUE(logits) << (logits ? "" : logits.error().message);
    return logits ? logits->dim(0) : -1;
  };
  EXPECT_EQ(logit_rows(9, false), 1);
  EXPECT_EQ(logit_rows(9, true), 0);
  EXPECT_EQ((*model)->hidden().dim(0), 1);
  EXPECT_EQ((*model)->Logits(0, 1)->dim(0), 1);
  EXPECT_EQ(logit_rows(1, true), 1) << "a step that a device may replay";
}

TEST_F(RunnerTest, PromptScoresComePieceByPiece) {
  ForwardInput in = Step(0, 48);  // more rows than the 32 that the runner makes logits for at once
  Load(in, {.temperature = 0, .num_prompt_logprobs = 2});
  for (int i = 0; i + 1 < 48; ++i) {
    in.sample_rows.push_back({.row = i, .slot = 1, .target = fixture_.token_ids[i + 1]});
  }
  in.sample_rows.push_back({.row = 47, .slot = 1});
  std::swap(in.sample_rows[3], in.sample_rows[40]);
  const auto out = RunStep(*runner_, in);
  ASSERT_TRUE(out) << out.error().message;
  ASSERT_EQ(out->tokens.size(), 48u);
  for (int i = 0; i + 1 < 48; ++i) {
    const SampleRow& row = in.sample_rows[i];
    EXPECT_EQ(out->tokens[i].token, row.target);
    EXPECT_NEAR(out->tokens[i].logprob, LogprobAt(row.row, row.target), 1e-4);
    ASSERT_EQ(out->tokens[i].top.size(), 2u);
    EXPECT_EQ(out->tokens[i].top[0].token, ArgmaxAt(row.row));
  }
  EXPECT_EQ(out->tokens[47].token, ArgmaxAt(47));
}

TEST_F(RunnerTest, MasksDecideWithTheStepOrAfterIt) {
  ForwardInput in = Step(0, 20);
  Load(in, {.temperature = 0});
  const int words = static_cast<int>(TokenMaskWords(runner_->info().vocab_size));
  const int32_t wanted = ArgmaxAt(19), other = (wanted + 5) % 192;
  std::vector<uint32_t> mask(words, 0);
  mask[other / 32] |= uint32_t{1} << other % 32;
  in.num_masks = 1;
  in.sample_rows = {{.row = 19, .slot = 1, .mask = 0}};
  ForwardInput late = in;
  in.token_masks = mask;
  const auto out = RunStep(*runner_, in);
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_EQ(out->tokens[0].token, other);

  late.masks_follow = true;
  ASSERT_TRUE(runner_->Submit(late));
  EXPECT_FALSE(runner_->Submit(in)) << "a step must not pass one that waits for masks";
  ASSERT_TRUE(runner_->SupplyMasks(mask));
  EXPECT_FALSE(runner_->SupplyMasks(mask));
  const auto second = runner_->Collect();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->tokens[0].token, other);

  // Masks of the wrong size end the step, and the runner goes on.
  ASSERT_TRUE(runner_->Submit(late));
  EXPECT_FALSE(runner_->SupplyMasks(std::span(mask).first(1)));
  EXPECT_FALSE(runner_->Collect());
  EXPECT_TRUE(RunStep(*runner_, in));
}

TEST_F(RunnerTest, StepsThatLieAreErrors) {
  using Change = void (*)(ForwardInput&);
  const Change kLies[] = {
      [](ForwardInput& in) { in.positions.pop_back(); },
      [](ForwardInput& in) { in.query_start.back()++; },
      [](ForwardInput& in) { in.query_start = {0}; },
      [](ForwardInput& in) { in.kv_len[0] = 3; },
      [](ForwardInput& in) { in.kv_len[0] = 100000; },
      [](ForwardInput& in) { in.block_tables[0] = 16; },
      [](ForwardInput& in) { in.block_tables[0] = -1; },
      [](ForwardInput& in) { in.max_blocks = 4; },
      [](ForwardInput& in) { in.slot_ids[2]++; },
      [](ForwardInput& in) { in.positions[2]++; },
      [](ForwardInput& in) { in.token_ids[1] = 192; },
      [](ForwardInput& in) { in.sample_rows = {{.row = 20, .slot = 1}}; },
      [](ForwardInput& in) { in.sample_rows = {{.row = -1, .slot = 1}}; },
      [](ForwardInput& in) { in.sample_rows = {{.row = 0, .slot = 4}}; },
      [](ForwardInput& in) { in.sample_rows = {{.row = 0, .slot = 1, .mask = 0}}; },
      [](ForwardInput& in) { in.num_masks = 1; },
      [](ForwardInput& in) { in.num_masks = -1; },
      [](ForwardInput& in) { in.token_masks = {1}; },
      [](ForwardInput& in) { in = ForwardInput{}; },
  };
  for (size_t i = 0; i < std::size(kLies); ++i) {
    ForwardInput in = Step(0, 20);
    Load(in, {.temperature = 0});
    kLies[i](in);
    EXPECT_FALSE(RunStep(*runner_, in)) << "lie " << i;
  }
  ForwardInput honest = Step(0, 20);
  EXPECT_TRUE(RunStep(*runner_, honest)) << "the runner goes on";
}

TEST_F(RunnerTest, SettingsThatCannotWorkAreErrors) {
  const auto create = [&](const EngineConfig& engine, const RuntimeConfig& runtime) {
    const auto out =
        ModelRunner::Create(*fixture_.checkpoint, engine, runtime, MakeReferenceBackend());
    return out ? "" : out.error().param;
  };
  EXPECT_EQ(create({.max_num_seqs = 0}, {}), "max_num_seqs");
  EXPECT_EQ(create({.max_num_seqs = 64, .max_batch_tokens = 32}, {}), "max_batch_tokens");
  EXPECT_EQ(create({.max_itl_ms = 50, .enable_chunked_prefill = false}, {}), "max_itl_ms");
  EXPECT_EQ(create({}, {.kv_dtype = "f8"}), "kv_dtype");
  EXPECT_EQ(create({.kv_cache_bytes = 1}, {}), "max_model_len");
}

// The runner as an Executor, without a backend registry.
class RunnerExecutor final : public Executor {
 public:
  explicit RunnerExecutor(ModelRunner& runner) : runner_(runner) {}
  const ExecutorInfo& info() const override { return runner_.info(); }
  Status Submit(ForwardInput input) override {
    input_ = std::move(input);
    return {};
  }
  Result<StepOutput> Collect() override { return RunStep(runner_, input_); }

 private:
  ModelRunner& runner_;
  ForwardInput input_;
};

TEST_F(RunnerTest, PerplexityScoresTheSecondHalf) {
  RunnerExecutor executor(*runner_);
  double nll = 0;
  for (int i = 24; i < 47; ++i) nll -= LogprobAt(i, fixture_.token_ids[i + 1]);
  const auto got = MeasurePerplexity(fixture_.token_ids, executor, {.context = 48});
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->chunks, 1);
  EXPECT_EQ(got->scored_tokens, 23);
  EXPECT_NEAR(got->perplexity / std::exp(nll / 23), 1.0, 1e-4);
  EXPECT_GT(got->uncertainty, 0);
}

TEST_F(RunnerTest, PerplexityChunksAreIndependent) {
  RunnerExecutor executor(*runner_);
  std::vector<int32_t> twice = fixture_.token_ids;
  twice.insert(twice.end(), fixture_.token_ids.begin(), fixture_.token_ids.end());
  const auto once = MeasurePerplexity(fixture_.token_ids, executor, {.context = 48});
  const auto both = MeasurePerplexity(twice, executor, {.context = 48});
  ASSERT_TRUE(once && both);
  EXPECT_EQ(both->chunks, 2);
  EXPECT_NEAR(both->perplexity, once->perplexity, 1e-9);
  const auto with_bos = MeasurePerplexity(twice, executor, {.context = 48, .bos = 1});
  EXPECT_NE(with_bos->perplexity, both->perplexity);
  EXPECT_EQ(MeasurePerplexity(twice, executor, {.context = 48, .max_chunks = 1})->chunks, 1);
  EXPECT_FALSE(MeasurePerplexity(twice, executor, {.context = 97}));
  EXPECT_FALSE(MeasurePerplexity(twice, executor, {.context = 257}));
}

}  // namespace
}  // namespace slipstream::testing
