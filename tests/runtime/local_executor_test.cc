// The executor on the CPU backend: the Submit and Collect protocol on a fixture, and one real
// answer where the quickstart's model is there.
#include "runtime/local_executor.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "tests/model/golden_harness.h"

namespace slipstream::testing {
namespace {

constexpr int kBlocks = 16;

std::unique_ptr<LocalExecutor> MakeExecutor(const Checkpoint& checkpoint) {
  const EngineConfig engine{
      .num_blocks = kBlocks, .max_num_seqs = 2, .max_batch_tokens = 64, .max_model_len = 256};
  auto out = MakeLocalExecutor(checkpoint, engine, {.num_threads = 2, .device = "cpu"});
  EXPECT_TRUE(out) << (out ? "" : out.error().message);
  return out ? std::move(*out) : nullptr;
}

// A sequence in blocks 0, 1, 2, ... whose last token is sampled; `ids` follow `computed` others.
ForwardInput Step(const std::vector<int32_t>& ids, int computed) {
  const int n = static_cast<int>(ids.size());
  ForwardInput in;
  in.token_ids = ids;
  in.query_start = {0, n};
  in.kv_len = {computed + n};
  in.max_blocks = kBlocks;
  in.block_tables.resize(kBlocks);
  std::iota(in.block_tables.begin(), in.block_tables.end(), 0);
  for (int i = 0; i < n; ++i) {
    in.positions.push_back(computed + i);
    in.slot_ids.push_back(computed + i);
  }
  in.sample_rows = {{.row = n - 1, .slot = 0}};
  return in;
}

std::vector<int32_t> Greedy(Executor& executor, const std::vector<int32_t>& prompt, int count) {
  std::vector<int32_t> out;
  ForwardInput in = Step(prompt, 0);
  SamplingParams params;
  params.temperature = 0.0f;
  in.slot_updates.push_back({.slot = 0, .params = std::make_shared<SamplingParams>(params)});
  for (int computed = static_cast<int>(prompt.size()); count > 0; --count, ++computed) {
    EXPECT_TRUE(executor.Submit(std::move(in)));
    const auto output = executor.Collect();
    if (!output) {
      ADD_FAILURE() << output.error().message;
      return out;
    }
    out.push_back(output->tokens[0].token);
    in = Step({-1}, computed);  // the token just sampled for slot 0
  }
  return out;
}

TEST(LocalExecutorTest, StepsAreSubmittedAndCollectedInTurn) {
  const GoldenFixture fixture = LoadFixture("smollm");
  const auto executor = MakeExecutor(*fixture.checkpoint);
  ASSERT_NE(executor, nullptr);
  EXPECT_EQ(executor->info().num_blocks, kBlocks);
  EXPECT_EQ(executor->stats().kv_dtype, "F32");
  EXPECT_EQ(executor->stats().kv_cache_bytes, kBlocks * 16 * 2 * 2 * 2 * 64 * 4);
  EXPECT_FALSE(executor->Collect()) << "nothing was submitted";
  const std::vector<int32_t> first = Greedy(*executor, fixture.token_ids, 12);
  EXPECT_EQ(first, Greedy(*executor, fixture.token_ids, 12));
}

TEST(LocalExecutorTest, AFailedStepIsReportedOnceAndTheNextOneRuns) {
  const GoldenFixture fixture = LoadFixture("smollm");
  const auto executor = MakeExecutor(*fixture.checkpoint);
  ASSERT_NE(executor, nullptr);
  ForwardInput bad = Step({3, 4, 5}, 0);
  bad.slot_ids[1] = 99;
  ASSERT_TRUE(executor->Submit(bad));
  EXPECT_FALSE(executor->Submit(bad)) << "one step at a time";
  EXPECT_FALSE(executor->Collect());
  EXPECT_FALSE(executor->fatal());
  EXPECT_EQ(Greedy(*executor, fixture.token_ids, 3).size(), 3u);
}

TEST(LocalExecutorTest, UnknownDeviceIsAnError) {
  const GoldenFixture fixture = LoadFixture("smollm");
  const auto out = MakeLocalExecutor(*fixture.checkpoint, {}, {.device = "abacus"});
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().param, "device");
}

// Ids of transformers on the dequantized weights: "What is the capital of France?" in the model's
// chat template and "The"; its greedy answer goes on "capital of France is Paris". "The" itself is
// given: it leads the next best token by less than what quantized activations cost.
TEST(LocalExecutorTest, SmolLm2AnswersAsTransformersDoes) {
  const std::string path =
      std::string(std::getenv("SLIPSTREAM_SOURCE_DIR")) + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is fetched by the quickstart";
  const auto checkpoint = OpenCheckpoint(path);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto executor = MakeExecutor(**checkpoint);
  ASSERT_NE(executor, nullptr);
  const std::vector<int32_t> prompt = {
      1,   9690, 198, 2683, 359,   253,  5356, 5646, 11173, 3365, 3511, 308,  34519,
      28,  7018, 411, 407,  19712, 8182, 2,    198,  1,     4093, 198,  1780, 314,
      260, 3575, 282, 4649, 47,    2,    198,  1,    520,   9531, 198,  504};
  const std::vector<int32_t> answer = {3575, 282, 4649, 314, 7042};
  EXPECT_EQ(Greedy(*executor, prompt, 5), answer);
}

}  // namespace
}  // namespace slipstream::testing
