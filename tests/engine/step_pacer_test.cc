// Prompts beside an open stream: with a limit on the gap between tokens, chunks shrink to what the
// measured cost of steps allows, and prompts still finish. Time is the test's own.
#include "engine/step_pacer.h"

#include <gtest/gtest.h>

#include "tests/engine/core_fixture.h"

namespace slipstream::testing {
namespace {

// A device on a timeline of its own: a step starts when it is submitted and the one before has
// ended, and takes base + rate * tokens of its prompts.
class TimedExecutor final : public Executor {
 public:
  TimedExecutor(std::unique_ptr<Executor> inner, double base_us, double rate_us)
      : inner_(std::move(inner)), base_us_(base_us), rate_us_(rate_us) {}

  const ExecutorInfo& info() const override { return inner_->info(); }
  int max_in_flight() const override { return inner_->max_in_flight(); }
  Status Submit(ForwardInput input) override {
    double us = base_us_;
    for (int s = 0; s < input.num_seqs(); ++s) {
      const int32_t queries = input.query_start[s + 1] - input.query_start[s];
      if (queries > 1) us += rate_us_ * queries;
    }
    free_us_ = std::max(free_us_, fake_now_us) + static_cast<int64_t>(us);
    ends_.push_back(free_us_);
    return inner_->Submit(std::move(input));
  }
  Result<StepOutput> Collect() override {
    fake_now_us = std::max(fake_now_us, ends_.front());
    ends_.pop_front();
    return inner_->Collect();
  }

 private:
  std::unique_ptr<Executor> inner_;
  double base_us_, rate_us_;
  int64_t free_us_ = 0;
  std::deque<int64_t> ends_;
};

struct Outcome {
  int64_t longest_gap_us = 0;
  int64_t first_token_us = 0;  // of the last prompt, from its arrival
};

class PacerTest : public CoreTest, public ::testing::WithParamInterface<int> {
 protected:
  // A stream of 200 tokens; two prompts of 1500 arrive after its 20th.
  Outcome Run(double max_itl_ms) {
    fake_now_us = 1'000'000;
    info_.max_model_len = 4096;
    info_.num_blocks = 2048;
    info_.max_batch_tokens = 2048;
    config_.max_batch_tokens = 2048;
    config_.max_itl_ms = max_itl_ms;
    config_.mixed_prefill_tokens = 0;  // the pacer alone
    device_ = std::make_shared<FakeDevice>();
    core_ = std::make_unique<EngineCore>(
        config_,
        std::make_unique<TimedExecutor>(std::make_unique<FakeExecutor>(info_, GetParam(), device_),
                                        10'000, 100),
        FakeNow);
    Draft stream(Count(30), 200), first(Count(1500, 100), 4), second(Count(1500, 5000), 4);
    Send(stream);
    Outcome out;
    size_t seen = 0;
    int64_t last_us = 0, arrived_us = 0;
    for (int i = 0; core_->has_work() && i < 5000; ++i) {
      StepOnce();
      if (HasFatalFailure()) return out;
      const size_t tokens = stream.sink->choice(0).tokens.size();
      if (tokens != seen) {
        if (seen > 0) out.longest_gap_us = std::max(out.longest_gap_us, fake_now_us - last_us);
        last_us = fake_now_us;
        seen = tokens;
      }
      if (seen == 20 && arrived_us == 0) {
        arrived_us = fake_now_us;
        Send(first);
        Send(second);
      }
      if (out.first_token_us == 0 && !second.sink->choice(0).tokens.empty()) {
        out.first_token_us = fake_now_us - arrived_us;
      }
    }
    ExpectOutput(stream);
    ExpectOutput(first);
    ExpectOutput(second);
    return out;
  }
};

TEST_P(PacerTest, HoldsTheGapWhilePromptsArrive) {
  const Outcome free = Run(0);
  EXPECT_GT(free.longest_gap_us, 150'000) << "the case would show nothing";
  const Outcome paced = Run(50);
  EXPECT_LE(paced.longest_gap_us, 50'000);
  EXPECT_GT(paced.first_token_us, 0) << "the prompts are done all the same";
  EXPECT_LT(paced.first_token_us, 2 * free.first_token_us) << "and the time is used";
}

INSTANTIATE_TEST_SUITE_P(Depths, PacerTest, ::testing::Values(1, 2));

TEST(StepPacerTest, LearnsBaseAndRate) {
  StepPacer pacer(20);
  EXPECT_EQ(pacer.PrefillTokens(), StepPacer::kFirstTokens);
  for (int i = 0; i < 20; ++i) pacer.Observe(0, 8'000);
  pacer.Observe(100, 13'000);  // 50 us a token
  EXPECT_NEAR(pacer.PrefillTokens(), (18'000 - 8'000) / 50, 2);
  pacer.Observe(100, 18'000);  // dearer: counts at once
  EXPECT_NEAR(pacer.PrefillTokens(), (18'000 - 8'000) / 100, 2);
  for (int i = 0; i < 50; ++i) pacer.Observe(100, 13'000);
  EXPECT_NEAR(pacer.PrefillTokens(), (18'000 - 8'000) / 50, 4);
}

TEST(StepPacerTest, APromptAlwaysMoves) {
  StepPacer pacer(5);
  pacer.Observe(0, 50'000);  // decodes alone are over the limit
  pacer.Observe(16, 90'000);
  EXPECT_EQ(pacer.PrefillTokens(), StepPacer::kMinTokens);
}

}  // namespace
}  // namespace slipstream::testing
