// The engine's thread: submit, cancel, wake, stop and executor loss from other threads. Meant to
// run under the thread sanitizer as well.
#include "engine/engine.h"

#include <gmock/gmock.h>

#include <random>
#include <thread>

#include "base/clock.h"
#include "tests/engine/core_fixture.h"

namespace slipstream::testing {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kFar = int64_t{60} * 1000 * 1000;

class EngineTest : public ::testing::Test {
 protected:
  void Make(int depth = 2) {
    engine_ = MakeEngine(config_, std::make_unique<FakeExecutor>(info_, depth, device_));
  }

  // Waits for `n` terminal events; the test's timeout is the only bound.
  static void Await(RecordingSink& sink, int n = 1) {
    while (sink.num_finished() < n) std::this_thread::yield();
  }
  static void AwaitToken(RecordingSink& sink) {
    while (sink.num_tokens(0) == 0) std::this_thread::yield();
  }

  ExecutorInfo info_ = SmallInfo();
  EngineConfig config_;
  std::shared_ptr<FakeDevice> device_ = std::make_shared<FakeDevice>();
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, AnswersAfterSleeping) {
  Make();
  engine_->Start();
  for (int i = 0; i < 3; ++i) {
    Draft d(Count(10), 5);
    ASSERT_TRUE(engine_->Submit(d.request));
    Await(*d.sink);
    EXPECT_EQ(d.sink->choice(0).tokens, d.Expected(engine_->info()).tokens);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  engine_->Stop(NowUs() + kFar);
  EXPECT_GT(engine_->metrics().steps_total.value(), 0u);
  EXPECT_FALSE(engine_->metrics().has_work);
}

TEST_F(EngineTest, StopLetsRunningRequestsFinishUntilTheDeadline) {
  Make();
  engine_->Start();
  Draft d(Count(10), 150);
  ASSERT_TRUE(engine_->Submit(d.request));
  engine_->Stop(NowUs() + kFar);
  EXPECT_EQ(d.sink->choice(0).finish, FinishReason::kLength);
  const Status late = engine_->Submit(d.request);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kUnavailable);
}

TEST_F(EngineTest, StopWithoutTimeAborts) {
  info_.max_model_len = 1 << 20;
  info_.num_blocks = 1 << 16;
  info_.max_num_seqs = 1;
  Make();
  engine_->Start();
  Draft running(Count(10), 1 << 20), waiting(Count(10), 1 << 20);
  ASSERT_TRUE(engine_->Submit(running.request));
  ASSERT_TRUE(engine_->Submit(waiting.request));
  AwaitToken(*running.sink);
  engine_->Stop(NowUs());
  EXPECT_EQ(running.sink->choice(0).finish, FinishReason::kAbort);
  EXPECT_EQ(waiting.sink->choice(0).finish, FinishReason::kAbort);
}

TEST_F(EngineTest, RequestsOfAnEngineThatNeverRanAreAnswered) {
  Make();
  Draft d(Count(10), 5);
  ASSERT_TRUE(engine_->Submit(d.request));
  engine_.reset();
  EXPECT_EQ(d.sink->choice(0).finish, FinishReason::kAbort);
}

TEST_F(EngineTest, AFullQueueRefuses) {
  config_.max_queued_requests = 2;
  Make();
  Draft d(Count(10), 5), e(Count(10), 5), f(Count(10), 5);
  ASSERT_TRUE(engine_->Submit(d.request));
  ASSERT_TRUE(engine_->Submit(e.request));
  const Status full = engine_->Submit(f.request);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, ErrorCode::kResourceExhausted);
  engine_->Start();
  Await(*d.sink);
  Await(*e.sink);
  EXPECT_TRUE(engine_->Submit(f.request));
  Await(*f.sink);
}

TEST_F(EngineTest, CancelEndsARequest) {
  info_.max_model_len = 1 << 20;
  info_.num_blocks = 1 << 16;
  Make();
  engine_->Start();
  Draft d(Count(10), 1 << 20);
  ASSERT_TRUE(engine_->Submit(d.request));
  AwaitToken(*d.sink);
  d.sink->Cancel();
  engine_->Wake();
  Await(*d.sink);
  EXPECT_EQ(d.sink->choice(0).finish, FinishReason::kAbort);
}

TEST_F(EngineTest, ALostExecutorFailsEveryWaiter) {
  info_.max_model_len = 1 << 20;
  info_.num_blocks = 1 << 16;
  info_.max_num_seqs = 1;
  Make();
  engine_->Start();
  Draft running(Count(10), 1 << 20), waiting(Count(10), 5);
  ASSERT_TRUE(engine_->Submit(running.request));
  ASSERT_TRUE(engine_->Submit(waiting.request));
  AwaitToken(*running.sink);
  device_->fatal = true;
  Await(*running.sink);
  Await(*waiting.sink);
  EXPECT_EQ(running.sink->choice(0).finish, FinishReason::kError);
  EXPECT_THAT(waiting.sink->choice(0).error.message, HasSubstr("lost"));
  EXPECT_TRUE(engine_->metrics().failed);
  const Status refused = engine_->Submit(waiting.request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  engine_->Stop(NowUs());
}

TEST_F(EngineTest, ALostExecutorIsNoticedWithoutARequest) {
  Make();
  engine_->Start();
  Draft d(Count(10), 5);
  ASSERT_TRUE(engine_->Submit(d.request));
  Await(*d.sink);
  device_->fatal = true;
  while (!engine_->metrics().failed) std::this_thread::yield();
  EXPECT_EQ(device_->num_steps, 5);
  EXPECT_FALSE(engine_->Submit(d.request));
}

// Several clients submit and cancel while the engine runs; it is stopped under load.
TEST_F(EngineTest, ManyThreadsThenStop) {
  info_.num_blocks = 40;
  info_.eos_token_ids = {1};
  config_.max_queued_requests = 30;
  Make();
  engine_->Start();
  std::vector<std::vector<Draft>> accepted(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 rng(t);
      for (int i = 0; i < 150; ++i) {
        Draft d(Count(1 + static_cast<int>(rng() % 60)), static_cast<int>(rng() % 40));
        d.request.num_choices = 1 + static_cast<int>(rng() % 3);
        d.request.priority = static_cast<int>(rng() % 3);
        const Status status = engine_->Submit(d.request);
        if (!status) {
          std::this_thread::yield();
          continue;
        }
        if (rng() % 4 == 0) d.sink->Cancel();
        if (rng() % 4 == 0) d.sink->CancelChoice(0);
        engine_->Wake();
        accepted[t].push_back(d);
        if (rng() % 8 == 0) Await(*d.sink, d.request.num_choices);
      }
    });
  }
  threads[0].join();
  engine_->Stop(NowUs() + 2000);
  for (int t = 1; t < 4; ++t) threads[t].join();
  EXPECT_EQ(device_->Violations(), std::vector<std::string>{});
  for (const auto& drafts : accepted) {
    for (const Draft& d : drafts) {
      ASSERT_EQ(d.sink->num_finished(), d.request.num_choices);
      EXPECT_TRUE(d.sink->problems().empty());
    }
  }
  EXPECT_EQ(engine_->metrics().kv_blocks_used.value(), 0);
}

}  // namespace
}  // namespace slipstream::testing
