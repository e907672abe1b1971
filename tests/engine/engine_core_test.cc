// What a request gets from the engine, one behaviour per test. Random schedules are elsewhere.
#include "engine/engine_core.h"

#include <gmock/gmock.h>

#include "tests/engine/core_fixture.h"

namespace slipstream::testing {
namespace {

using ::testing::HasSubstr;

class EngineCoreTest : public CoreTest {};

class BothDepths : public CoreTest, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Depth, BothDepths, ::testing::Values(1, 2));

TEST_P(BothDepths, GeneratesUntilMaxTokens) {
  Make(GetParam());
  Draft d(Count(10), 20);
  Send(d);
  Finish();
  ExpectOutput(d);
  EXPECT_EQ(d.sink->choice(0).tokens.size(), 20u);
  EXPECT_EQ(d.sink->choice(0).finish, FinishReason::kLength);
  EXPECT_EQ(d.sink->num_prompt_tokens(), 10);
  EXPECT_EQ(core_->metrics().generation_tokens_total.value(), 20u);
  EXPECT_EQ(core_->metrics().finished_length_total.value(), 1u);
}

TEST_P(BothDepths, StopsAtAStopIdAndAtEos) {
  Draft probe(Count(10), 20);
  const std::vector<int32_t> free_run = probe.Expected(info_).tokens;
  info_.eos_token_ids = {free_run[9]};
  Make(GetParam());
  Draft stop(Count(10), 20), eos(Count(10), 20), ignore(Count(10), 20);
  stop.params->stop_token_ids = {free_run[4]};
  ignore.params->ignore_eos = true;
  for (const Draft* d : {&stop, &eos, &ignore}) Send(*d);
  Finish();
  for (const Draft* d : {&stop, &eos, &ignore}) ExpectOutput(*d);
  EXPECT_EQ(stop.sink->choice(0).tokens.size(), 5u);
  EXPECT_EQ(stop.sink->choice(0).stop_token, free_run[4]);
  EXPECT_EQ(eos.sink->choice(0).tokens.size(), 10u);
  EXPECT_EQ(eos.sink->choice(0).finish, FinishReason::kStop);
  EXPECT_EQ(ignore.sink->choice(0).tokens.size(), 20u);
}

TEST_P(BothDepths, MinTokensMasksStopIds) {
  Draft probe(Count(10), 20);
  const std::vector<int32_t> free_run = probe.Expected(info_).tokens;
  Make(GetParam());
  Draft d(Count(10), 20);
  d.params->stop_token_ids = {free_run[2]};
  d.params->min_tokens = 8;
  Send(d);
  Finish();
  ExpectOutput(d);
  EXPECT_GT(d.sink->choice(0).tokens.size(), 8u);
}

TEST_P(BothDepths, EndsAtTheContextLimit) {
  config_.max_model_len = 32;
  Make(GetParam());
  Draft d(Count(30), 50);
  Send(d);
  Finish();
  ExpectOutput(d);
  EXPECT_EQ(d.sink->choice(0).tokens.size(), 2u);
  EXPECT_EQ(d.sink->choice(0).finish, FinishReason::kLength);
}

TEST_P(BothDepths, ChoicesShareOnePrefill) {
  for (const bool caching : {true, false}) {
    config_.enable_prefix_caching = caching;
    Make(GetParam());
    Draft d(Count(41), 6);
    d.request.num_choices = 5;
    Send(d);
    Finish();
    for (int k = 0; k < 5; ++k) ExpectOutput(d, k);
    EXPECT_NE(d.sink->choice(0).tokens, d.sink->choice(1).tokens);
    // 41 tokens once; each sibling has one token of its own to compute, which counts as decode.
    EXPECT_EQ(device_->num_prefill_tokens, 41) << "caching " << caching;
  }
}

TEST_P(BothDepths, SiblingsSurviveAFirstChoiceOfOneToken) {
  config_.enable_prefix_caching = false;
  Make(GetParam());
  Draft d(Count(41), 1);
  d.request.num_choices = 3;
  Send(d);
  Finish();
  for (int k = 0; k < 3; ++k) ExpectOutput(d, k);
  EXPECT_EQ(device_->num_prefill_tokens, 41);
}

TEST_P(BothDepths, AnotherChoiceLeadsWhenTheFirstIsCancelled) {
  config_.max_batch_tokens = 8;
  Make(GetParam());
  Draft d(Count(41), 4);
  d.request.num_choices = 3;
  Send(d);
  StepOnce();
  d.sink->CancelChoice(0);
  Finish();
  EXPECT_EQ(d.sink->choice(0).finish, FinishReason::kAbort);
  ExpectOutput(d, 1);
  ExpectOutput(d, 2);
}

TEST_P(BothDepths, PreemptionDoesNotChangeTheOutput) {
  info_.num_blocks = 16;  // 64 tokens
  Make(GetParam());
  std::vector<Draft> drafts;
  for (int i = 0; i < 5; ++i) drafts.emplace_back(Count(8, 100 * i), 40);
  for (const Draft& d : drafts) Send(d);
  Finish();
  uint64_t told = 0;
  for (const Draft& d : drafts) {
    ExpectOutput(d);
    told += static_cast<uint64_t>(d.sink->choice(0).num_preemptions);
  }
  EXPECT_GT(core_->metrics().preemptions_total.value(), 0u);
  EXPECT_EQ(core_->metrics().preemptions_total.value(), told);
}

TEST_P(BothDepths, CancelFreesBlocksBeforeTheNextStep) {
  Make(GetParam());
  Draft d(Count(40), 50), other(Count(8, 500), 50);
  Send(d);
  Send(other);
  for (int i = 0; i < 4; ++i) StepOnce();
  const int32_t held = core_->pool().num_held();
  d.sink->Cancel();
  StepOnce();
  EXPECT_LE(core_->pool().num_held(), held - 10);
  EXPECT_EQ(d.sink->choice(0).finish, FinishReason::kAbort);
  Finish();
  ExpectOutput(other);
  EXPECT_EQ(core_->metrics().aborts_total.value(), 1u);
}

TEST_P(BothDepths, AFailedStepEndsOnlyItsSequences) {
  config_.max_num_seqs = 2;
  Make(GetParam());
  device_->failing_collects = {3};
  Draft a(Count(5), 10), b(Count(6), 10), later(Count(7), 10);
  for (const Draft* d : {&a, &b, &later}) Send(*d);
  Finish();
  for (const Draft* d : {&a, &b}) {
    EXPECT_EQ(d->sink->choice(0).finish, FinishReason::kError);
    EXPECT_THAT(d->sink->choice(0).error.message, HasSubstr("injected"));
    const auto& tokens = d->sink->choice(0).tokens;
    const auto want = d->Expected(info_).tokens;
    EXPECT_EQ(tokens, std::vector<int32_t>(want.begin(), want.begin() + 3));
  }
  ExpectOutput(later);
  EXPECT_EQ(core_->metrics().step_errors_total.value(), 1u);
  EXPECT_FALSE(core_->fatal());
}

TEST_P(BothDepths, ScoresThePromptInSlices) {
  info_.vocab_size = int64_t{1} << 30;  // 16 rows in a step, the least
  Make(GetParam());
  Draft d(Count(60), 3), score_only(Count(50), 0);
  d.params->num_prompt_logprobs = 0;
  score_only.params->num_prompt_logprobs = 0;
  Send(d);
  Send(score_only);
  Finish();
  ExpectOutput(d);
  EXPECT_LE(device_->max_rows, 16 + 8);
  for (const Draft* p : {&d, &score_only}) {
    const std::vector<float> want = p->Expected(info_).prompt_scores;
    ASSERT_EQ(p->sink->prompt_logprobs().size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(p->sink->prompt_logprobs()[i].logprob, want[i]);
    }
  }
  EXPECT_EQ(score_only.sink->choice(0).finish, FinishReason::kLength);
  EXPECT_TRUE(score_only.sink->choice(0).tokens.empty());
}

TEST_P(BothDepths, AFullyCachedPromptComputesItsLastBlockAgain) {
  Make(GetParam());
  Draft first(Count(40), 3), second(Count(40), 5), scored(Count(40), 1);
  Send(first);
  Finish();
  Send(second);
  Finish();
  ExpectOutput(second);
  EXPECT_EQ(first.sink->num_cached_tokens(), 0);
  EXPECT_EQ(second.sink->num_cached_tokens(), 36);
  EXPECT_EQ(core_->metrics().prefix_hit_tokens_total.value(), 36u);
  EXPECT_EQ(core_->metrics().prefix_query_tokens_total.value(), 80u);
  // Every row of a scored prompt is needed.
  scored.params->num_prompt_logprobs = 0;
  Send(scored);
  Finish();
  EXPECT_EQ(scored.sink->num_cached_tokens(), 0);
  EXPECT_EQ(scored.sink->prompt_logprobs().size(), 39u);
}

TEST_F(EngineCoreTest, SaltsDoNotShare) {
  Make();
  Draft first(Count(40), 3), second(Count(40), 3);
  second.request.cache_salt = "other";
  Send(first);
  Finish();
  Send(second);
  Finish();
  EXPECT_EQ(second.sink->num_cached_tokens(), 0);
}

TEST_F(EngineCoreTest, DeadlinesAbortWaitingAndRunning) {
  config_.max_num_seqs = 1;
  Make();
  fake_now_us = 0;
  Draft running(Count(4), 100), waiting(Count(4), 100);
  running.request.deadline_us = 500;
  waiting.request.deadline_us = 300;
  Send(running);
  Send(waiting);
  fake_now_us = 299;
  StepOnce();
  EXPECT_EQ(waiting.sink->num_finished(), 0);
  fake_now_us = 300;
  StepOnce();
  EXPECT_EQ(waiting.sink->choice(0).finish, FinishReason::kAbort);
  EXPECT_EQ(running.sink->num_finished(), 0);
  fake_now_us = 500;
  StepOnce();
  EXPECT_EQ(running.sink->choice(0).finish, FinishReason::kAbort);
  EXPECT_EQ(core_->pool().num_held(), 0);
}

TEST_F(EngineCoreTest, RequestsWithoutASeedDiffer) {
  Make();
  Draft a(Count(4), 8), b(Count(4), 8);
  a.params->seed.reset();
  b.params->seed.reset();
  Send(a);
  Send(b);
  Finish();
  EXPECT_NE(a.sink->choice(0).tokens, b.sink->choice(0).tokens);
}

TEST_F(EngineCoreTest, QueuePlacesComeBackOnAdmission) {
  config_.max_queued_requests = 2;
  config_.max_num_seqs = 1;
  Make();
  Draft a(Count(4), 8), b(Count(4), 8), c(Count(4), 8);
  Send(a);
  Send(b);
  EXPECT_FALSE(core_->ReservePlace());
  StepOnce();  // a runs
  Send(c);
  EXPECT_FALSE(core_->ReservePlace());
  c.sink->Cancel();
  StepOnce();
  EXPECT_TRUE(core_->ReservePlace());
  core_->ReturnPlace();
  Finish();
}

TEST_F(EngineCoreTest, WhatCanNeverRunIsRefusedByName) {
  info_.num_blocks = 8;  // 32 tokens, less than the model's 200
  Make();
  EXPECT_EQ(core_->info().max_model_len, 32);
  const auto refused = [&](const Draft& d) {
    const Status status = ValidateRequest(d.request, core_->info());
    EXPECT_FALSE(status);
    return status ? Error{} : status.error();
  };
  EXPECT_THAT(refused(Draft(Count(32), 1)).message,
              HasSubstr("maximum context length is 32 tokens"));
  EXPECT_TRUE(ValidateRequest(Draft(Count(32), 0).request, core_->info()));
  EXPECT_TRUE(ValidateRequest(Draft(Count(31), 1000000).request, core_->info()));
  EXPECT_EQ(refused(Draft({}, 1)).param, "prompt");
  EXPECT_THAT(refused(Draft({100000}, 1)).message, HasSubstr("100000"));
  EXPECT_EQ(refused(Draft({-1}, 1)).code, ErrorCode::kInvalidArgument);
  Draft many(Count(3), 1);
  many.request.num_choices = 65;
  EXPECT_EQ(refused(many).param, "n");
}

TEST_F(EngineCoreTest, AbortAllAndFailAllAnswerEverybody) {
  Make(2);
  Draft running(Count(10), 50), waiting(Count(10), 50);
  running.request.num_choices = 3;
  Send(running);
  StepOnce();
  Send(waiting);
  core_->FailAll({ErrorCode::kInternal, "gone", {}});
  EXPECT_EQ(running.sink->num_finished(), 3);
  EXPECT_EQ(waiting.sink->choice(0).finish, FinishReason::kError);
  EXPECT_EQ(waiting.sink->choice(0).error.message, "gone");
  EXPECT_FALSE(core_->has_work());
  EXPECT_EQ(core_->pool().num_held(), 0);
}

}  // namespace
}  // namespace slipstream::testing
