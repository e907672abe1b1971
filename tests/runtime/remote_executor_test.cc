#include "runtime/remote_executor.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "base/rng.h"
#include "runtime/step_codec.h"

namespace slipstream {
namespace {

ForwardInput SampleInput() {
  ForwardInput f;
  f.step = 42;
  f.token_ids = {5, 6, -1, 9};
  f.positions = {0, 1, 2, 7};
  f.slot_ids = {16, 17, 18, 39};
  f.query_start = {0, 3, 4};
  f.kv_len = {3, 8};
  f.max_blocks = 2;
  f.block_tables = {1, 0, 2, 0};
  auto params = std::make_shared<SamplingParams>();
  params->temperature = 0.5f;
  params->logit_bias = {{3, -100.0f}, {4, 1.5f}};
  params->num_logprobs = 2;
  f.slot_updates = {{.slot = 1,
                     .params = params,
                     .seed = 77,
                     .prompt_ids = {5, 6},
                     .output_ids = {},
                     .stop_ids = {2}}};
  f.sample_rows = {{.row = 2, .slot = 0, .mask = 1}, {.row = 3, .slot = 1, .target = 8}};
  f.pool_runs = {{.row = 1, .count = 2}};
  f.num_masks = 2;
  f.token_masks = {1, 2, 3, 4, 5, 6, 7, 8};  // 4 words for 100 tokens
  return f;
}

ExecutorInfo SampleInfo() {
  return {.vocab_size = 100,
          .hidden_size = 2,
          .max_model_len = 32,
          .num_blocks = 4,
          .block_size_tokens = 16,
          .max_num_seqs = 4,
          .max_batch_tokens = 64,
          .eos_token_ids = {2, 3}};
}

// Returns the sum of the step's token ids as its sampled token; fails steps numbered 13.
class SumExecutor : public Executor {
 public:
  const ExecutorInfo& info() const override { return info_; }
  Status Submit(ForwardInput input) override {
    input_ = std::move(input);
    return {};
  }
  Result<StepOutput> Collect() override {
    if (input_.step == 13) return Fail(ErrorCode::kInternal, "step 13 fails");
    StepOutput out;
    out.step = input_.step;
    SampledToken token;
    for (const int32_t id : input_.token_ids) token.token += id;
    token.top = {{1, -0.5f}};
    out.tokens = {token};
    for (const PoolRun& run : input_.pool_runs) {
      out.pooled.push_back({{static_cast<double>(run.row), run.count + 0.25}});
    }
    return out;
  }

 private:
  ExecutorInfo info_ = SampleInfo();
  ForwardInput input_;
};

TEST(StepCodec, RoundTripKeepsEveryField) {
  const auto bytes = Encode(SampleInput());
  const auto back = DecodeForwardInput(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(Encode(*back), bytes);
  EXPECT_EQ(back->token_ids, SampleInput().token_ids);
  EXPECT_EQ(back->slot_updates[0].params->logit_bias,
            SampleInput().slot_updates[0].params->logit_bias);
  EXPECT_EQ(back->sample_rows[1].target, 8);
  EXPECT_EQ(back->sample_rows[0].mask, 1);
  EXPECT_EQ(back->pool_runs[0].count, 2);
  EXPECT_EQ(back->token_masks, SampleInput().token_masks);
}

TEST(StepCodec, EveryTruncationAndRandomDamageIsSurvived) {
  const auto bytes = Encode(SampleInput());
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(DecodeForwardInput(std::span(bytes).first(n))) << n;
  }
  for (uint64_t i = 0; i < 3000; ++i) {
    auto damaged = bytes;
    damaged[MixBits(i) % damaged.size()] ^= static_cast<uint8_t>(1 + MixBits(i + 9) % 255);
    const auto input = DecodeForwardInput(damaged);
    if (input) (void)CheckForwardInput(*input, SampleInfo());
  }
}

TEST(CheckForwardInput, RefusesWhatDoesNotFit) {
  EXPECT_TRUE(CheckForwardInput(SampleInput(), SampleInfo()));
  const auto expect_refused = [](auto change) {
    ForwardInput f = SampleInput();
    change(f);
    EXPECT_FALSE(CheckForwardInput(f, SampleInfo()));
  };
  expect_refused([](ForwardInput& f) { f.token_ids[0] = 100; });
  expect_refused([](ForwardInput& f) { f.token_ids[0] = -5; });
  expect_refused([](ForwardInput& f) { f.positions.pop_back(); });
  expect_refused([](ForwardInput& f) { f.slot_ids[1] = 64; });
  expect_refused([](ForwardInput& f) { f.block_tables[1] = 4; });
  expect_refused([](ForwardInput& f) { f.kv_len[1] = 33; });
  expect_refused([](ForwardInput& f) { f.query_start = {0, 4, 3}; });
  expect_refused([](ForwardInput& f) { f.sample_rows[0].row = 4; });
  expect_refused([](ForwardInput& f) { f.slot_updates[0].slot = 4; });
  expect_refused([](ForwardInput& f) { f.sample_rows[0].mask = 2; });
  expect_refused([](ForwardInput& f) { f.sample_rows[0].mask = -2; });
  expect_refused([](ForwardInput& f) { f.token_masks.pop_back(); });
  expect_refused([](ForwardInput& f) { f.num_masks = 1; });
  expect_refused([](ForwardInput& f) { f.pool_runs[0].row = -1; });
  expect_refused([](ForwardInput& f) { f.pool_runs[0].count = 0; });
  expect_refused([](ForwardInput& f) { f.pool_runs[0].count = 4; });
  expect_refused([](ForwardInput& f) { f.num_masks = -1; });
  expect_refused([](ForwardInput& f) { f.num_masks = 5, f.token_masks.resize(20); });
}

TEST(RemoteExecutor, RunsStepsAndCarriesStepErrors) {
  auto listener = TcpListener::Listen("127.0.0.1:0");
  ASSERT_TRUE(listener);
  SumExecutor local;
  WorkerServer server(std::move(*listener), local);
  std::thread worker([&] { EXPECT_TRUE(server.Serve()); });
  const std::string address = fmt::format("127.0.0.1:{}", server.port());
  std::unique_ptr<Executor> last;
  for (int leader = 0; leader < 2; ++leader) {
    last.reset();  // one after another
    auto remote = ConnectRemoteExecutor(address, 5, 60);
    ASSERT_TRUE(remote) << remote.error().message;
    EXPECT_EQ((*remote)->info().eos_token_ids, SampleInfo().eos_token_ids);
    EXPECT_EQ((*remote)->info().hidden_size, 2);
    for (const uint64_t step : {42, 13, 14}) {
      ForwardInput input = SampleInput();
      input.step = step;
      ASSERT_TRUE((*remote)->Submit(input));
      const auto out = (*remote)->Collect();
      ASSERT_EQ(out.has_value(), step != 13);
      if (out) EXPECT_EQ(out->tokens[0].token, 19);
      if (out) EXPECT_EQ(out->pooled[0].sum, (std::vector<double>{1, 2.25}));
      if (!out) EXPECT_EQ(out.error().message, "step 13 fails");
      EXPECT_FALSE((*remote)->fatal());
    }
    last = std::move(*remote);
  }
  server.Stop();  // while a leader is connected
  worker.join();
  const Status submitted = last->Submit(SampleInput());
  if (submitted) EXPECT_FALSE(last->Collect());
  EXPECT_TRUE(last->fatal());
}

TEST(RemoteExecutor, ALostWorkerIsFatal) {
  auto listener = TcpListener::Listen("127.0.0.1:0");
  ASSERT_TRUE(listener);
  std::thread worker([&] {
    auto channel = listener->Accept();
    ASSERT_TRUE(channel);
    ASSERT_TRUE(channel->Send(Encode(SampleInfo(), 1)));
  });
  auto remote = ConnectRemoteExecutor(fmt::format("127.0.0.1:{}", listener->port()), 5, 60);
  ASSERT_TRUE(remote);
  worker.join();
  const Status submitted = (*remote)->Submit(SampleInput());
  if (submitted) EXPECT_FALSE((*remote)->Collect());
  EXPECT_TRUE((*remote)->fatal());
}

// A worker that greets and from then on does what the test says to its end of the channel.
class SilentWorker {
 public:
  SilentWorker() : listener_(TcpListener::Listen("127.0.0.1:0")) {
    std::thread greeter([this] {
      auto channel = listener_->Accept();
      ASSERT_TRUE(channel);
      ASSERT_TRUE(channel->Send(Encode(SampleInfo(), 1)));
      channel_.emplace(std::move(*channel));
    });
    auto remote =
        ConnectRemoteExecutor(fmt::format("127.0.0.1:{}", listener_->port()), 5, /*step=*/0.05);
    greeter.join();
    EXPECT_TRUE(remote);
    if (remote) executor = std::move(*remote);
  }

  std::unique_ptr<Executor> executor;
  TcpChannel& channel() { return *channel_; }
  void Die() { channel_.reset(); }

 private:
  Result<TcpListener> listener_;
  std::optional<TcpChannel> channel_;
};

TEST(RemoteExecutor, AHangingWorkerIsFatal) {
  SilentWorker worker;
  ASSERT_TRUE(worker.executor);
  ASSERT_TRUE(worker.executor->Submit(SampleInput()));
  const auto out = worker.executor->Collect();
  ASSERT_FALSE(out);
  EXPECT_NE(out.error().message.find("silent"), std::string::npos) << out.error().message;
  EXPECT_TRUE(worker.executor->fatal());
}

TEST(RemoteExecutor, AWorkerThatReadsNothingIsFatal) {
  SilentWorker worker;
  ASSERT_TRUE(worker.executor);
  ForwardInput input = SampleInput();
  input.slot_updates[0].prompt_ids.assign(1 << 20, 1);
  Status sent;
  for (int i = 0; i < 100 && sent; ++i) sent = worker.executor->Submit(input);
  EXPECT_FALSE(sent);
  EXPECT_TRUE(worker.executor->fatal());
}

TEST(RemoteExecutor, AnIdleLeaderNoticesThatItsWorkerDied) {
  SilentWorker worker;
  ASSERT_TRUE(worker.executor);
  EXPECT_TRUE(worker.executor->CheckIdle());
  EXPECT_FALSE(worker.executor->fatal());
  worker.Die();
  while (worker.executor->CheckIdle()) std::this_thread::yield();
  EXPECT_TRUE(worker.executor->fatal());
}

TEST(RemoteExecutor, AnAnswerNobodyAskedForIsFatal) {
  SilentWorker worker;
  ASSERT_TRUE(worker.executor);
  ASSERT_TRUE(worker.channel().Send(Encode(Result<StepOutput>(StepOutput{}))));
  while (worker.executor->CheckIdle()) std::this_thread::yield();
  EXPECT_TRUE(worker.executor->fatal());
}

}  // namespace
}  // namespace slipstream
