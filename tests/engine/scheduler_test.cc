#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/engine/sequence_fixture.h"

namespace slipstream::testing {
namespace {

class SchedulerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    limits_.block_size = 4;
    limits_.max_num_seqs = 8;
    limits_.max_batch_tokens = 32;
  }

  void Make(int num_blocks) {
    pool_ = std::make_unique<BlockPool>(num_blocks);
    cache_ = std::make_unique<PrefixCache>(pool_.get(), limits_.block_size, 1);
    scheduler_ = std::make_unique<Scheduler>(limits_, pool_.get(), cache_.get());
  }

  // Prompts start with different tokens unless told otherwise.
  Sequence* Add(int num_prompt, int priority = 0, int n = 1, int first_token = -1) {
    std::vector<int32_t> prompt(num_prompt);
    const int arrival = static_cast<int>(groups_.size());
    std::iota(prompt.begin(), prompt.end(), first_token >= 0 ? first_token : 1000 * arrival);
    groups_.push_back(MakeGroup(pool_.get(), arrival, std::move(prompt), 100, priority, n));
    groups_.back()->root_key = cache_->RootKey("");
    Sequence* seq = groups_.back()->choices[0].get();
    scheduler_->Enqueue(seq);
    return seq;
  }

  // Schedules a step and completes it; every sampled token is 7.
  const Batch& Step() {
    scheduler_->Schedule(&batch_);
    for (const BatchItem& item : batch_.items) {
      --item.seq->num_in_flight;
      scheduler_->OnComputed(item.seq, item.end());
      if (!item.sample) continue;
      --item.seq->num_pending;
      item.seq->outputs.push_back(7);
    }
    return batch_;
  }

  // Tokens of each sequence in the step, in batch order.
  static std::vector<std::pair<const Sequence*, int>> Tokens(const Batch& batch) {
    std::vector<std::pair<const Sequence*, int>> tokens;
    for (const BatchItem& item : batch.items) tokens.emplace_back(item.seq, item.num_tokens);
    return tokens;
  }
  using Want = std::vector<std::pair<const Sequence*, int>>;

  SchedulerLimits limits_;
  std::unique_ptr<BlockPool> pool_;
  std::unique_ptr<PrefixCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::unique_ptr<SequenceGroup>> groups_;
  Batch batch_;

  ~SchedulerTest() override { groups_.clear(); }  // tables return their blocks to the pool
};

TEST_F(SchedulerTest, DecodesComeFirstAndPromptsFillTheBudget) {
  Make(64);
  Sequence* a = Add(10);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 10}}));
  Sequence* b = Add(50);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 31}}));
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 19}}));
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 1}}));
  EXPECT_EQ(batch_.num_tokens, 2);
}

TEST_F(SchedulerTest, AShortPromptOvertakesALongOneThatKeepsHalf) {
  Make(64);
  Sequence* long_one = Add(100);
  Sequence* second = Add(60);
  Sequence* short_one = Add(6);
  EXPECT_EQ(Tokens(Step()), (Want{{long_one, 16}, {short_one, 6}, {second, 10}}));
  EXPECT_EQ(Tokens(Step()), (Want{{short_one, 1}, {long_one, 16}, {second, 15}}));
}

TEST_F(SchedulerTest, OfEqualPromptsTheOldestEndsFirst) {
  Make(64);
  Sequence* first = Add(48);
  Sequence* second = Add(48);
  EXPECT_EQ(Tokens(Step()), (Want{{first, 32}}));
  EXPECT_EQ(Tokens(Step()), (Want{{first, 16}, {second, 16}}));
  EXPECT_EQ(Tokens(Step()), (Want{{first, 1}, {second, 31}}));
}

TEST_F(SchedulerTest, TheOldestPromptGetsWhatNobodyElseNeeds) {
  Make(64);
  Sequence* long_one = Add(100);
  Sequence* short_one = Add(4);
  EXPECT_EQ(Tokens(Step()), (Want{{long_one, 28}, {short_one, 4}}));
}

TEST_F(SchedulerTest, PromptsAreSpreadOverStepsThatDecode) {
  limits_.mixed_prefill_tokens = 8;
  Make(64);
  Sequence* a = Add(20);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 20}}));  // nobody decodes yet
  Sequence* b = Add(18);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 8}}));
  EXPECT_EQ(scheduler_->counts().prefill_limit, 8);
  Sequence* c = Add(3);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 5}, {c, 3}}));
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {c, 1}, {b, 5}}));
}

TEST_F(SchedulerTest, WaitingPromptsMakeTheStepsThatDecodeLonger) {
  limits_.mixed_prefill_tokens = 2;
  Make(256);
  Sequence* a = Add(4);
  Step();
  Sequence* b = Add(160);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 10}}));
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 9}}));
  for (int i = 0; i < 20; ++i) Add(160);  // of which six find a free place
  EXPECT_EQ(Step().num_tokens, 32);
  EXPECT_EQ(scheduler_->counts().prefill_limit, 31);
}

TEST_F(SchedulerTest, MorePromptTokensThanAStepHoldsAreNoBound) {
  limits_.mixed_prefill_tokens = 100;
  Make(64);
  Sequence* a = Add(4);
  Step();
  Sequence* b = Add(40);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 31}}));
}

TEST_F(SchedulerTest, StepsThatDecodeFillWholeTiles) {
  limits_.mixed_prefill_tokens = 10;
  limits_.token_tile = 8;
  Make(64);
  Sequence* a = Add(4);
  Step();
  Sequence* b = Add(60);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 7}}));  // 11 tokens are nearer to 8 than to 16
  Sequence* c = Add(2);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 5}, {c, 2}}));
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {c, 1}, {b, 14}}));  // and 12 as near to 16
}

TEST_F(SchedulerTest, WholeTilesKeepToTheBounds) {
  limits_.mixed_prefill_tokens = 20;
  limits_.token_tile = 8;
  Make(64);
  Sequence* a = Add(4);
  Step();
  Sequence* b = Add(100);
  const auto prompt_tokens = [&](int32_t most) {
    scheduler_->Schedule(&batch_, most);
    EXPECT_EQ(batch_.items[0].seq, a);
    EXPECT_EQ(batch_.items[1].seq, b);
    const int num_tokens = batch_.items[1].num_tokens;
    return num_tokens;
  };
  EXPECT_EQ(prompt_tokens(22), 15);  // 23 would fill three tiles
  EXPECT_EQ(prompt_tokens(5), 5);    // less than a tile is what somebody asked for
}

TEST_F(SchedulerTest, ManyShortPromptsFillOneStep) {
  limits_.max_num_seqs = 32;
  Make(64);
  for (int i = 0; i < 20; ++i) Add(2);
  EXPECT_EQ(Step().num_tokens, 32);
  EXPECT_EQ(scheduler_->num_running(), 16u);
}

TEST_F(SchedulerTest, WithoutChunkingAPromptIsComputedWhole) {
  limits_.chunked_prefill = false;
  Make(64);
  Sequence* a = Add(10);
  Step();
  Sequence* b = Add(32);
  EXPECT_EQ(Tokens(Step()), (Want{{b, 32}}));  // the decode of a waits for one step
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 1}}));
  Sequence* c = Add(20);
  Sequence* d = Add(20);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 1}, {c, 20}}));
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 1}, {c, 1}, {d, 20}}));
  // Only a prompt that no step could hold is cut.
  Sequence* huge = Add(40);
  EXPECT_EQ(Tokens(Step()), (Want{{huge, 32}}));
  EXPECT_EQ(Tokens(Step()).back(), (std::pair<const Sequence*, int>{huge, 8}));
}

TEST_F(SchedulerTest, PriorityThenArrival) {
  limits_.max_num_seqs = 2;
  Make(64);
  Sequence* late = Add(4, 1);
  Sequence* first = Add(4, 0);
  Sequence* urgent = Add(4, -1);
  EXPECT_EQ(Tokens(Step()), (Want{{urgent, 4}, {first, 4}}));
  EXPECT_EQ(late->status, SequenceStatus::kWaiting);
}

TEST_F(SchedulerTest, ThePoolRunsOutOnTheNewestOfTheLowestPriority) {
  Make(6);
  Sequence* low = Add(8, 1);
  Sequence* a = Add(8, 0);
  Sequence* b = Add(8, 0);
  Step();
  EXPECT_EQ(pool_->num_available(), 0);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 1}}));
  EXPECT_EQ(low->status, SequenceStatus::kWaiting);
  EXPECT_EQ(low->outputs.size(), 1u);  // keeps its tokens
  EXPECT_EQ(low->table.size(), 0);
  EXPECT_EQ(low->slot, -1);
  EXPECT_EQ(scheduler_->counts().preemptions, 1);
  for (int i = 0; i < 4; ++i) Step();  // a and b need a fourth block each; b gives way
  EXPECT_EQ(b->status, SequenceStatus::kWaiting);
  EXPECT_EQ(a->status, SequenceStatus::kRunning);
  scheduler_->Remove(a);
  Step();
  EXPECT_EQ(b->status, SequenceStatus::kRunning);
}

TEST_F(SchedulerTest, APromptIsAdmittedOnlyWhenAllOfItFits) {
  Make(8);
  Sequence* a = Add(16);
  Step();
  Sequence* b = Add(20);
  Step();
  EXPECT_EQ(b->status, SequenceStatus::kWaiting);
  // Nothing overtakes it: it would starve.
  Sequence* c = Add(2);
  Step();
  EXPECT_EQ(c->status, SequenceStatus::kWaiting);
  scheduler_->Remove(a);
  Step();
  EXPECT_EQ(b->status, SequenceStatus::kRunning);
  EXPECT_EQ(c->status, SequenceStatus::kRunning);
}

TEST_F(SchedulerTest, EqualPrefixesShareBlocks) {
  Make(64);
  Sequence* a = Add(16, 0, 1, 500);
  Step();
  Sequence* b = Add(20, 0, 1, 500);
  EXPECT_EQ(Tokens(Step()), (Want{{a, 1}, {b, 4}}));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(a->table[i], b->table[i]);
  EXPECT_NE(a->table[4], b->table[4]);
  EXPECT_EQ(scheduler_->counts().prefix_hit_tokens, 16);
  EXPECT_EQ(groups_[1]->num_cached_tokens, 16);
}

TEST_F(SchedulerTest, SiblingsWaitForThePromptAndShareIt) {
  limits_.prefix_caching = false;
  Make(64);
  Sequence* leader = Add(40, 0, 3);
  Step();
  EXPECT_EQ(groups_[0]->choices[1]->status, SequenceStatus::kGated);
  Step();
  EXPECT_EQ(scheduler_->num_waiting(), 2u);
  const Batch& batch = Step();
  ASSERT_EQ(batch.items.size(), 3u);
  for (int k = 1; k < 3; ++k) {
    EXPECT_EQ(batch.items[k].start, 36);
    EXPECT_EQ(batch.items[k].num_tokens, 4);
    for (int b = 0; b < 9; ++b) EXPECT_EQ(batch.items[k].seq->table[b], leader->table[b]);
  }
  EXPECT_TRUE(scheduler_->sharing().empty());
  EXPECT_EQ(groups_[0]->shared_prompt.size(), 0);
}

TEST_F(SchedulerTest, ASharedPromptGivesWayBeforeASequenceDoes) {
  limits_.prefix_caching = false;
  limits_.max_num_seqs = 1;
  Make(5);
  Sequence* leader = Add(12, 0, 2);
  Step();
  ASSERT_EQ(scheduler_->sharing().size(), 1u);
  scheduler_->Remove(leader);
  EXPECT_EQ(pool_->num_held(), 2);  // held for the sibling
  Sequence* urgent = Add(16, -1);
  Step();
  EXPECT_EQ(urgent->status, SequenceStatus::kRunning);
  EXPECT_TRUE(scheduler_->sharing().empty());
}

TEST_F(SchedulerTest, ScoreRowsAreBoundedPerStep) {
  limits_.max_score_rows = 10;
  Make(64);
  Sequence* a = Add(24);
  Sequence* b = Add(24);
  a->scores_prompt = b->scores_prompt = true;
  std::vector<int> rows(2);
  for (int step = 0; step < 6; ++step) {
    int in_step = 0;
    for (const BatchItem& item : Step().items) {
      in_step += item.num_score_rows;
      rows[item.seq == b] += item.num_score_rows;
    }
    EXPECT_LE(in_step, 10);
  }
  EXPECT_EQ(rows, (std::vector<int>{23, 23}));
}

TEST_F(SchedulerTest, AStepIsNotScheduledPastTheLastOutput) {
  Make(64);
  Sequence* a = Add(4);
  a->max_outputs = 1;
  scheduler_->Schedule(&batch_);
  ASSERT_EQ(batch_.items.size(), 1u);
  scheduler_->Schedule(&batch_);  // the first step is still in flight
  EXPECT_TRUE(batch_.items.empty());
}

}  // namespace
}  // namespace slipstream::testing
