// Requests that end in an embedding: the bookkeeping over a fake device, then the vectors
// themselves on the CPU against what transformers computed from the same weights.
#include <cmath>

#include "runtime/local_executor.h"
#include "tests/engine/core_fixture.h"
#include "tests/model/golden_harness.h"

namespace slipstream::testing {
namespace {

class PoolingTest : public CoreTest {
 protected:
  static Draft Pool(std::vector<int32_t> prompt, Pooling pooling) {
    Draft draft(std::move(prompt), 0);
    draft.request.pooling = pooling;
    return draft;
  }

  static void ExpectPooled(const Draft& draft) {
    uint64_t history = kEmptyHistory;
    double sum = 0, last = 0;
    for (const int32_t token : draft.request.prompt_ids) {
      history = ExtendHistory(history, token);
      sum += last = StateOf(history);
    }
    const bool mean = draft.request.pooling == Pooling::kMean;
    const double count = static_cast<double>(draft.request.prompt_ids.size());
    const ChoiceRecord& choice = draft.sink->choice(0);
    EXPECT_EQ(choice.num_terminal, 1);
    EXPECT_EQ(choice.finish, FinishReason::kStop);
    EXPECT_TRUE(choice.tokens.empty());
    EXPECT_EQ(choice.embedding,
              (std::vector<float>{static_cast<float>(mean ? sum * (1.0 / count) : last), 1.0f}));
  }
};

TEST_F(PoolingTest, LastAndMeanInChunksBesideOthers) {
  for (const int depth : {1, 2}) {
    info_.max_batch_tokens = 8;
    Make(depth);
    std::vector<Draft> drafts;
    for (const int n : {1, 2, 4, 7, 8, 9, 30, 61}) {
      drafts.push_back(Pool(Count(n, n * 100), Pooling::kLast));
      drafts.push_back(Pool(Count(n, n * 200), Pooling::kMean));
      drafts.push_back(Draft(Count(n, n * 300), 9));
    }
    for (const Draft& draft : drafts) Send(draft);
    Finish();
    for (const Draft& draft : drafts) {
      draft.request.pooling == Pooling::kNone ? ExpectOutput(draft) : ExpectPooled(draft);
    }
  }
}

// The mean needs the states of tokens that the cache would spare; the last token's does not.
TEST_F(PoolingTest, PrefixCacheServesTheLastTokenOnly) {
  Make();
  for (const Pooling pooling : {Pooling::kLast, Pooling::kLast, Pooling::kMean}) {
    const Draft draft = Pool(Count(20), pooling);
    Send(draft);
    Finish();
    ExpectPooled(draft);
    const bool first = core_->metrics().steps_total.value() == 1;
    EXPECT_EQ(draft.sink->num_cached_tokens(), first || pooling == Pooling::kMean ? 0 : 16);
  }
  // What they computed is in the cache for those who generate.
  const Draft draft(Count(20), 2);
  Send(draft);
  Finish();
  ExpectOutput(draft);
  EXPECT_EQ(draft.sink->num_cached_tokens(), 16);
}

// A sequence that gives up its blocks half way is computed again, and no state counts twice.
TEST_F(PoolingTest, PreemptionCountsEveryStateOnce) {
  for (const int depth : {1, 2}) {
    config_.enable_prefix_caching = depth == 1;
    info_.num_blocks = 24;
    info_.max_batch_tokens = 8;
    Make(depth);
    std::vector<Draft> drafts;
    for (int i = 0; i < 4; ++i) drafts.push_back(Draft(Count(4, i * 50), 30));
    for (int i = 0; i < 6; ++i) {
      drafts.push_back(Pool(Count(50, i * 100), i % 2 == 0 ? Pooling::kMean : Pooling::kLast));
    }
    for (const Draft& draft : drafts) Send(draft);
    Finish();
    EXPECT_GT(core_->metrics().preemptions_total.value(), 0u);
    for (const Draft& draft : drafts) {
      draft.request.pooling == Pooling::kNone ? ExpectOutput(draft) : ExpectPooled(draft);
    }
  }
}

TEST_F(PoolingTest, CancelledAndFailedOnesEndOnce) {
  Make();
  const Draft cancelled = Pool(Count(30), Pooling::kMean);
  Send(cancelled);
  cancelled.sink->Cancel();
  Finish();
  EXPECT_EQ(cancelled.sink->choice(0).finish, FinishReason::kAbort);
  EXPECT_TRUE(cancelled.sink->choice(0).embedding.empty());
  device_->failing_collects = {0};
  const Draft failed = Pool(Count(30), Pooling::kMean);
  Send(failed);
  Finish();
  EXPECT_EQ(failed.sink->choice(0).finish, FinishReason::kError);
  EXPECT_TRUE(failed.sink->choice(0).embedding.empty());
}

TEST_F(PoolingTest, RequestsThatCannotBePooledAreRefused) {
  Make();
  Draft generates = Pool(Count(3), Pooling::kLast);
  generates.params->max_tokens = 1;
  EXPECT_FALSE(ValidateRequest(generates.request, core_->info()));
  Draft twice = Pool(Count(3), Pooling::kLast);
  twice.request.num_choices = 2;
  EXPECT_FALSE(ValidateRequest(twice.request, core_->info()));
  ExecutorInfo old = core_->info();
  old.hidden_size = 0;
  const Status status = ValidateRequest(Pool(Count(3), Pooling::kLast).request, old);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnimplemented);
}

// The CPU backend on a fixture whose logits come from transformers in float32. The embedding is
// what the output matrix makes logits of, and the matrix is linear: its product with the pooled
// state is the last logits, or the mean of all.
class RealPoolingTest : public ::testing::TestWithParam<const char*> {
 protected:
  using Vectors = std::vector<std::vector<float>>;

  void SetUp() override {
    fixture_ = LoadFixture(GetParam());
    ASSERT_NE(fixture_.checkpoint, nullptr);
  }

  // One request per prompt, all sent at once.
  Vectors Run(const std::vector<std::vector<int32_t>>& prompts, Pooling pooling,
              int max_batch_tokens, bool beside_others) {
    EngineConfig config;
    config.num_blocks = 128;
    config.max_num_seqs = 8;
    config.max_batch_tokens = max_batch_tokens;
    auto executor =
        MakeLocalExecutor(*fixture_.checkpoint, config, {.num_threads = 2, .device = "cpu"});
    EXPECT_TRUE(executor) << (executor ? "" : executor.error().message);
    EngineCore core(config, std::move(*executor), FakeNow);
    std::vector<Draft> drafts;
    for (const auto& prompt : prompts) {
      if (beside_others) drafts.push_back(Draft({prompt.rbegin(), prompt.rend()}, 20));
      Draft& draft = drafts.emplace_back(prompt, 0);
      draft.request.pooling = pooling;
    }
    for (const Draft& draft : drafts) {
      EXPECT_TRUE(ValidateRequest(draft.request, core.info()));
      EXPECT_TRUE(core.ReservePlace());
      Request copy = draft.request;
      core.Add(std::move(copy), 0);
    }
    while (core.has_work()) core.Step();
    Vectors out;
    for (const Draft& draft : drafts) {
      if (draft.request.pooling != Pooling::kNone) out.push_back(draft.sink->choice(0).embedding);
    }
    return out;
  }

  std::vector<double> ReferenceLogits(Pooling pooling) const {
    const size_t vocab = static_cast<size_t>(fixture_.checkpoint->config().vocab_size);
    const size_t tokens = fixture_.token_ids.size();
    std::vector<double> out(vocab);
    for (size_t t = pooling == Pooling::kMean ? 0 : tokens - 1; t < tokens; ++t) {
      for (size_t v = 0; v < vocab; ++v) out[v] += fixture_.logits[t * vocab + v];
    }
    if (pooling == Pooling::kMean) {
      for (double& x : out) x /= static_cast<double>(tokens);
    }
    return out;
  }

  std::vector<double> LogitsOf(const std::vector<float>& state) const {
    const ModelConfig& config = fixture_.checkpoint->config();
    const char* name = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    const auto matrix = fixture_.checkpoint->Matrix(name, config.vocab_size, config.hidden_size);
    EXPECT_TRUE(matrix && matrix->dtype == DType::kF32);
    const auto* w = static_cast<const float*>(matrix->data);
    std::vector<double> out(static_cast<size_t>(config.vocab_size));
    for (double& x : out) {
      for (const float s : state) x += static_cast<double>(s) * *w++;
    }
    return out;
  }

  GoldenFixture fixture_;
};

TEST_P(RealPoolingTest, EqualsTransformers) {
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
    const Vectors got = Run({fixture_.token_ids}, pooling, 64, false);
    ASSERT_EQ(got[0].size(), static_cast<size_t>(fixture_.checkpoint->config().hidden_size));
    const std::vector<double> want = ReferenceLogits(pooling), logits = LogitsOf(got[0]);
    double worst = 0;
    for (size_t i = 0; i < want.size(); ++i)
      worst = std::max(worst, std::fabs(logits[i] - want[i]));
    EXPECT_LT(worst, 1e-4) << "mean: " << (pooling == Pooling::kMean);
  }
}

TEST_P(RealPoolingTest, NeitherBatchNorChunksMoveABit) {
  const std::vector<int32_t>& ids = fixture_.token_ids;
  const std::vector<std::vector<int32_t>> prompts = {ids,
                                                     {ids.begin() + 3, ids.end()},
                                                     {ids.begin(), ids.begin() + 1},
                                                     {ids.begin(), ids.end() - 9}};
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
    Vectors alone;
    for (const auto& prompt : prompts) alone.push_back(Run({prompt}, pooling, 256, false)[0]);
    EXPECT_EQ(Run(prompts, pooling, 256, false), alone);
    EXPECT_EQ(Run(prompts, pooling, 13, false), alone);
    EXPECT_EQ(Run(prompts, pooling, 16, true), alone);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, RealPoolingTest, ::testing::Values("smollm", "qwen3", "llama3"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace slipstream::testing
