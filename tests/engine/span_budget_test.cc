// Tokens forced at the end of a span, as a bound on reasoning needs them.
#include "tests/engine/core_fixture.h"

namespace slipstream::testing {
namespace {

class SpanBudgetTest : public CoreTest, public ::testing::WithParamInterface<int> {
 protected:
  // A span from the first output on, with a mark that the model never writes.
  static Draft Endless(int max_tokens, int budget, std::vector<int32_t> forced) {
    Draft draft(Count(9), max_tokens);
    draft.request.span_budget = SpanBudget{-1, 99'999, budget, std::move(forced)};
    return draft;
  }
};
INSTANTIATE_TEST_SUITE_P(Depth, SpanBudgetTest, ::testing::Values(1, 2, 3));

TEST_P(SpanBudgetTest, ForcedTokensFollowTheBudget) {
  Make(GetParam());
  const Draft draft = Endless(40, 7, {1, 2, 3});
  Send(draft);
  Finish();
  ExpectOutput(draft);
  const std::vector<int32_t>& tokens = draft.sink->choice(0).tokens;
  ASSERT_EQ(tokens.size(), 40u);
  EXPECT_EQ(std::vector<int32_t>(tokens.begin() + 7, tokens.begin() + 10),
            (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(core_->metrics().generation_tokens_total.value(), 40u);
  // What comes before is what came without a budget.
  Draft free(Count(9), 40);
  const std::vector<int32_t> unbounded = free.Expected(core_->info()).tokens;
  EXPECT_TRUE(std::equal(tokens.begin(), tokens.begin() + 7, unbounded.begin()));
  EXPECT_FALSE(std::equal(tokens.begin() + 10, tokens.end(), unbounded.begin() + 10));
}

TEST_P(SpanBudgetTest, NothingIsForcedAfterTheClosingMark) {
  Make(GetParam());
  Draft draft = Endless(30, 20, {1});
  Draft plain(Count(9), 30);
  draft.request.span_budget->close_token = plain.Expected(core_->info()).tokens[19];
  Send(draft);
  Finish();
  EXPECT_EQ(draft.sink->choice(0).tokens, plain.Expected(core_->info()).tokens);
  draft = Endless(30, 20, {1});  // one token later is too late
  draft.request.span_budget->close_token = plain.Expected(core_->info()).tokens[20];
  Send(draft);
  Finish();
  EXPECT_EQ(draft.sink->choice(0).tokens[20], 1);
}

TEST_P(SpanBudgetTest, TheSpanMayOpenInTheOutput) {
  Make(GetParam());
  const std::vector<int32_t> plain = Draft(Count(9), 30).Expected(core_->info()).tokens;
  for (const int place : {0, 3, 4}) {
    Draft draft = Endless(30, 0, {1, 2});
    draft.request.span_budget->open_token = plain[place];
    Send(draft);
    Finish();
    ExpectOutput(draft);
    const std::vector<int32_t>& got = draft.sink->choice(0).tokens;
    const bool opens = place < SpanBudget::kMaxOpening;
    EXPECT_EQ(got[place + 1] == 1 && got[place + 2] == 2, opens) << place;
  }
}

TEST_P(SpanBudgetTest, ForcedTokensEndAtMaxTokens) {
  Make(GetParam());
  for (const int max_tokens : {5, 6, 7, 8}) {
    const Draft draft = Endless(max_tokens, 5, {1, 2, 3});
    Send(draft);
    Finish();
    ExpectOutput(draft);
    EXPECT_EQ(draft.sink->choice(0).finish, FinishReason::kLength);
    EXPECT_EQ(static_cast<int>(draft.sink->choice(0).tokens.size()), max_tokens);
  }
}

TEST_P(SpanBudgetTest, EveryChoiceHasItsOwnSpan) {
  Make(GetParam());
  Draft draft = Endless(30, 6, Count(11, 50));
  draft.request.num_choices = 4;
  Send(draft);
  Finish();
  for (int k = 0; k < 4; ++k) ExpectOutput(draft, k);
}

// More forced tokens than fit the blocks left: the newest gives way and is computed again.
TEST_P(SpanBudgetTest, ForcedTokensGetBlocksByPreemption) {
  info_.num_blocks = 20;
  config_.enable_prefix_caching = false;
  Make(GetParam());
  std::vector<Draft> drafts;
  for (int i = 0; i < 4; ++i) {
    drafts.push_back(Endless(45, 5 + i, Count(25, 100 * i)));
    Send(drafts.back());
  }
  Finish();
  for (const Draft& draft : drafts) ExpectOutput(draft);
  EXPECT_GT(core_->metrics().preemptions_total.value(), 0u);
}

TEST_F(CoreTest, ASpanBudgetWithoutTokensIsRefused) {
  Make();
  Draft draft(Count(3), 5);
  draft.request.span_budget = SpanBudget{-1, 5, 3, {}};
  EXPECT_FALSE(ValidateRequest(draft.request, core_->info()));
  draft.request.span_budget = SpanBudget{-1, 5, 0, {1}};
  EXPECT_FALSE(ValidateRequest(draft.request, core_->info()));
  draft.request.span_budget = SpanBudget{4, 5, 0, {1}};
  EXPECT_TRUE(ValidateRequest(draft.request, core_->info()));
  draft.request.span_budget = SpanBudget{4, 5, 0, {1'000'000}};
  EXPECT_FALSE(ValidateRequest(draft.request, core_->info()));
}

}  // namespace
}  // namespace slipstream::testing
