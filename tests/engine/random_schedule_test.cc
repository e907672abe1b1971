// Random schedules: whatever arrives when, is cancelled, preempted, chunked, shared or lost, the
// invariants hold after every step, every choice gets exactly one terminal event, and the tokens
// are those of ExpectedOutput, which knows nothing of schedules.
#include <gtest/gtest.h>

#include <random>

#include "engine/engine_core.h"
#include "engine/engine_limits.h"
#include "tests/engine/fake_executor.h"
#include "tests/engine/hash_constraint.h"
#include "tests/engine/recording_sink.h"

namespace slipstream {
namespace {

using testing::ChoiceRecord;
using testing::Expect;
using testing::ExpectedOutput;
using testing::FakeDevice;
using testing::FakeExecutor;
using testing::HashConstraint;
using testing::RecordingSink;

thread_local int64_t fake_now_us = 0;
int64_t FakeNow() { return fake_now_us; }

struct Sent {
  Request request;  // a copy to ask the oracle with
  std::shared_ptr<RecordingSink> sink;
  bool may_end_early = false;  // cancelled, has a deadline
};

class Schedule {
 public:
  explicit Schedule(uint64_t seed, bool faults) : rng_(seed), device_(new FakeDevice) {
    config_.enable_prefix_caching = Chance(60);
    config_.enable_chunked_prefill = Chance(70);
    config_.max_num_seqs = Pick(1, 12);
    config_.max_batch_tokens = Pick(1, 64);
    config_.mixed_prefill_tokens = Chance(50) ? Pick(1, 20) : 0;
    if (config_.enable_chunked_prefill && Chance(30)) config_.max_itl_ms = Pick(1, 20);
    config_.max_queued_requests = 1000;
    ExecutorInfo info;
    info.vocab_size = Pick(0, 1) == 0 ? 40 : 2000000;
    info.block_size_tokens = 1 << Pick(0, 4);
    info.num_blocks = std::max(2, Pick(20, 240) / info.block_size_tokens);
    info.max_model_len = Pick(20, 120);
    info.max_num_seqs = Pick(1, 16);
    info.max_batch_tokens = 64;
    if (Chance(50)) info.token_tile = 1 << Pick(1, 4);
    info.eos_token_ids = {3, 7};
    if (faults) {
      for (int i = Pick(0, 4); i > 0; --i) device_->failing_submits.insert(Pick(0, 60));
      for (int i = Pick(0, 4); i > 0; --i) device_->failing_collects.insert(Pick(0, 60));
    }
    depth_ = Pick(1, 2);
    device_->late_masks = depth_ > 1 && Chance(60);
    constrained_percent_ = info.vocab_size < 100 && Chance(70) ? 50 : 0;
    faults_ = faults;
    core_ = std::make_unique<EngineCore>(
        config_, std::make_unique<FakeExecutor>(info, depth_, device_), FakeNow);
    for (int i = 0; i < 4; ++i) stems_.push_back(RandomTokens(Pick(1, 60)));
  }

  void Run() {
    const int num_requests = Pick(1, 25);
    const int arrival_percent = Pick(5, 100);
    int sent = 0;
    for (int step = 0; sent < num_requests || core_->has_work(); ++step) {
      ASSERT_LT(step, 20000) << "the schedule does not come to an end";
      while (sent < num_requests && Chance(arrival_percent)) {
        Send();
        ++sent;
      }
      if (Chance(5)) Cancel();
      fake_now_us += 1000;
      const int num_calls = device_->num_calls;
      core_->Step();
      ASSERT_TRUE(!core_->has_work() || device_->num_calls > num_calls)
          << "nothing advances in step " << step;
      const Status status = core_->CheckInvariants();
      ASSERT_TRUE(status) << status.error().message << " in step " << step;
      ASSERT_TRUE(device_->violations.empty()) << device_->violations[0] << " in step " << step;
    }
    Check();
  }

 private:
  int Pick(int lo, int hi) { return std::uniform_int_distribution<int>(lo, hi)(rng_); }
  bool Chance(int percent) { return Pick(1, 100) <= percent; }

  std::vector<int32_t> RandomTokens(int n) {
    std::vector<int32_t> tokens(n);
    for (int32_t& t : tokens) t = Pick(0, 39);
    return tokens;
  }

  void Send() {
    Sent s;
    s.sink = std::make_shared<RecordingSink>();
    Request& r = s.request;
    r.id = std::to_string(sent_.size());
    const auto& stem = stems_[Pick(0, static_cast<int>(stems_.size()) - 1)];
    r.prompt_ids.assign(stem.begin(), stem.begin() + Pick(1, static_cast<int>(stem.size())));
    if (Chance(50)) {
      const auto tail = RandomTokens(Pick(1, 30));
      r.prompt_ids.insert(r.prompt_ids.end(), tail.begin(), tail.end());
    }
    auto params = std::make_shared<SamplingParams>();
    params->seed = Pick(-5, 1000);
    params->max_tokens = Chance(10) ? 0 : Pick(1, 60);
    params->min_tokens = Chance(30) ? Pick(0, params->max_tokens) : 0;
    params->ignore_eos = Chance(20);
    if (Chance(30)) params->stop_token_ids = RandomTokens(Pick(1, 3));
    if (Chance(20)) params->num_prompt_logprobs = Pick(0, 2);
    if (Chance(20)) params->repetition_penalty = 1.5f;
    r.params = params;
    r.num_choices = Chance(25) ? Pick(2, 6) : 1;
    r.priority = Chance(30) ? Pick(-2, 2) : 0;
    if (Chance(10)) r.cache_salt = std::to_string(Pick(0, 1));
    if (Chance(10)) {
      r.deadline_us = fake_now_us + Pick(0, 60) * 1000;
      s.may_end_early = true;
    }
    if (Chance(25)) {
      SpanBudget span;
      span.open_token = Chance(50) ? -1 : Pick(0, 39);
      span.close_token = Pick(0, 39);
      span.max_tokens = Pick(span.open_token < 0 ? 1 : 0, 20);
      span.forced = RandomTokens(Pick(1, 20));
      r.span_budget = span;
    }
    if (Chance(constrained_percent_)) {
      r.constraint = std::make_shared<HashConstraint>(Pick(0, 1000), core_->info().vocab_size);
      if (Chance(30)) r.constraint_after = Pick(0, 39);
    }
    r.sink = s.sink;
    const Status status = ValidateRequest(r, core_->info());
    const int64_t needed =
        static_cast<int64_t>(r.prompt_ids.size()) + std::min(params->max_tokens, 1);
    ASSERT_EQ(status.has_value(), needed <= core_->info().max_model_len);
    if (!status) return;
    ASSERT_TRUE(core_->ReservePlace());
    Request copy = r;
    sent_.push_back(std::move(s));
    core_->Add(std::move(copy), fake_now_us);
  }

  void Cancel() {
    if (sent_.empty()) return;
    Sent& s = sent_[Pick(0, static_cast<int>(sent_.size()) - 1)];
    s.may_end_early = true;
    if (Chance(50)) {
      s.sink->Cancel();
    } else {
      s.sink->CancelChoice(Pick(0, s.request.num_choices - 1));
    }
  }

  void CheckChoice(const Sent& s, int k) {
    const ChoiceRecord& got = s.sink->choice(k);
    const ExpectedOutput want = Expect(s.request, k, core_->info());
    ASSERT_EQ(got.num_terminal, 1);
    if (got.finish == FinishReason::kAbort || got.finish == FinishReason::kError) {
      ASSERT_TRUE(got.finish == FinishReason::kAbort ? s.may_end_early : faults_);
      ASSERT_LE(got.tokens.size(), want.tokens.size());
      ASSERT_TRUE(std::equal(got.tokens.begin(), got.tokens.end(), want.tokens.begin()));
      return;
    }
    ASSERT_EQ(got.tokens, want.tokens);
    ASSERT_EQ(got.finish, want.finish);
    ASSERT_EQ(got.stop_token, want.stop_token);
    if (k != 0 || s.request.params->num_prompt_logprobs < 0) return;
    ASSERT_EQ(s.sink->prompt_logprobs().size(), want.prompt_scores.size());
    for (size_t i = 0; i < want.prompt_scores.size(); ++i) {
      ASSERT_EQ(s.sink->prompt_logprobs()[i].token, s.request.prompt_ids[i + 1]);
      ASSERT_EQ(s.sink->prompt_logprobs()[i].logprob, want.prompt_scores[i]);
    }
  }

  void Check() {
    for (const Sent& s : sent_) {
      for (int k = 0; k < s.request.num_choices; ++k) {
        CheckChoice(s, k);
        if (::testing::Test::HasFatalFailure()) {
          FAIL() << "request " << s.request.id << " choice " << k << " of "
                 << s.request.num_choices;
        }
      }
      ASSERT_TRUE(s.sink->problems().empty()) << s.sink->problems()[0];
    }
    const BlockPool& pool = core_->pool();
    ASSERT_EQ(pool.num_held(), 0);
    ASSERT_EQ(pool.num_free() + pool.num_reusable(), pool.num_blocks());
    if (!config_.enable_prefix_caching) {
      ASSERT_EQ(pool.num_reusable(), 0);
    }
    // Every place in the queue has been given back.
    for (int i = 0; i < config_.max_queued_requests; ++i) ASSERT_TRUE(core_->ReservePlace());
    ASSERT_FALSE(core_->ReservePlace());
  }

  std::mt19937_64 rng_;
  std::shared_ptr<FakeDevice> device_;
  EngineConfig config_;
  int depth_ = 1;
  int constrained_percent_ = 0;
  bool faults_ = false;
  std::unique_ptr<EngineCore> core_;
  std::vector<std::vector<int32_t>> stems_;
  std::vector<Sent> sent_;
};

int NumSchedules() {
  const char* n = std::getenv("SLIPSTREAM_SCHEDULES");
  return n != nullptr ? std::atoi(n) : 1500;
}

TEST(RandomSchedule, OutputsAndInvariantsHold) {
  for (int seed = 0; seed < NumSchedules(); ++seed) {
    Schedule schedule(seed, /*faults=*/false);
    schedule.Run();
    if (HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

TEST(RandomSchedule, StepErrorsEndOnlyTheirSequences) {
  for (int seed = 0; seed < NumSchedules(); ++seed) {
    Schedule schedule(100000 + seed, /*faults=*/true);
    schedule.Run();
    if (HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

}  // namespace
}  // namespace slipstream
