#include "engine/batch_builder.h"

#include <gtest/gtest.h>

#include "tests/engine/sequence_fixture.h"

namespace slipstream::testing {
namespace {

using Ints = std::vector<int32_t>;

class BatchBuilderTest : public ::testing::Test {
 protected:
  Sequence* Add(Ints prompt, int slot, int num_blocks) {
    groups_.push_back(MakeGroup(&pool_, groups_.size(), std::move(prompt), 10));
    Sequence* seq = groups_.back()->choices[0].get();
    seq->slot = slot;
    for (int i = 0; i < num_blocks; ++i) EXPECT_TRUE(seq->table.Grow());
    return seq;
  }
  static BatchItem Item(Sequence* seq, int start, int num_tokens, bool sample) {
    BatchItem item;
    item.seq = seq;
    item.start = start;
    item.num_tokens = num_tokens;
    item.sample = sample;
    return item;
  }
  ForwardInput Build(std::vector<BatchItem> items) {
    Batch batch;
    for (const BatchItem& item : items) batch.num_tokens += item.num_tokens;
    batch.items = std::move(items);
    return BatchBuilder(4).Build(batch, 7);
  }

  BlockPool pool_{16};
  std::vector<std::unique_ptr<SequenceGroup>> groups_;
};

TEST_F(BatchBuilderTest, FlattensDecodesAndChunks) {
  Sequence* decode = Add({10, 11, 12, 13}, 2, 2);  // blocks 0 1
  decode->outputs = {14};
  Sequence* prefill = Add({20, 21, 22, 23, 24, 25, 26}, 0, 3);  // blocks 2 3 4
  const ForwardInput in = Build({Item(decode, 4, 1, true), Item(prefill, 3, 3, false)});
  EXPECT_EQ(in.step, 7u);
  EXPECT_EQ(in.token_ids, (Ints{14, 23, 24, 25}));
  EXPECT_EQ(in.positions, (Ints{4, 3, 4, 5}));
  EXPECT_EQ(in.slot_ids, (std::vector<int64_t>{4, 11, 12, 13}));
  EXPECT_EQ(in.query_start, (Ints{0, 1, 4}));
  EXPECT_EQ(in.kv_len, (Ints{5, 6}));
  EXPECT_EQ(in.max_blocks, 2);
  EXPECT_EQ(in.block_tables, (Ints{0, 1, 2, 3}));
  ASSERT_EQ(in.sample_rows.size(), 1u);
  EXPECT_EQ(in.sample_rows[0].row, 0);
  EXPECT_EQ(in.sample_rows[0].slot, 2);
  EXPECT_EQ(in.sample_rows[0].target, -1);
  EXPECT_TRUE(in.slot_updates.empty());
}

TEST_F(BatchBuilderTest, NamesATokenOnTheDeviceByItsSlot) {
  Sequence* seq = Add({10, 11}, 5, 1);
  seq->num_pending = 1;
  const ForwardInput in = Build({Item(seq, 2, 1, true)});
  EXPECT_EQ(in.token_ids, (Ints{-1 - 5}));
}

TEST_F(BatchBuilderTest, RecomputesPromptAndOutputsInOnePiece) {
  Sequence* seq = Add({10, 11, 12}, 0, 2);
  seq->outputs = {13, 14};
  EXPECT_EQ(Build({Item(seq, 0, 5, true)}).token_ids, (Ints{10, 11, 12, 13, 14}));
  EXPECT_EQ(Build({Item(seq, 2, 3, true)}).token_ids, (Ints{12, 13, 14}));
  EXPECT_EQ(Build({Item(seq, 4, 1, true)}).token_ids, (Ints{14}));
}

TEST_F(BatchBuilderTest, ScoreRowsComeBeforeTheSampleRow) {
  Sequence* other = Add({1, 2}, 1, 1);
  Sequence* seq = Add({10, 11, 12, 13}, 3, 1);
  BatchItem item = Item(seq, 1, 3, true);
  item.score_start = 1;
  item.num_score_rows = 2;
  const ForwardInput in = Build({Item(other, 0, 2, false), item});
  ASSERT_EQ(in.sample_rows.size(), 3u);
  EXPECT_EQ(in.sample_rows[0].row, 2);
  EXPECT_EQ(in.sample_rows[0].target, 12);
  EXPECT_EQ(in.sample_rows[1].row, 3);
  EXPECT_EQ(in.sample_rows[1].target, 13);
  EXPECT_EQ(in.sample_rows[2].row, 4);
  EXPECT_EQ(in.sample_rows[2].target, -1);
}

TEST_F(BatchBuilderTest, LoadsTheSamplerSlot) {
  Sequence* seq = Add({10, 11, 12}, 3, 1);
  seq->outputs = {13};
  seq->group->stop_ids = {99};
  BatchItem item = Item(seq, 0, 4, true);
  item.load_slot = true;
  ForwardInput in = Build({item});
  ASSERT_EQ(in.slot_updates.size(), 1u);
  EXPECT_EQ(in.slot_updates[0].slot, 3);
  EXPECT_EQ(in.slot_updates[0].seed, 40u);
  EXPECT_EQ(in.slot_updates[0].output_ids, (Ints{13}));
  EXPECT_EQ(in.slot_updates[0].params, seq->group->request.params);
  // Only what the parameters need is sent along.
  EXPECT_TRUE(in.slot_updates[0].prompt_ids.empty());
  EXPECT_TRUE(in.slot_updates[0].stop_ids.empty());

  auto params = std::make_shared<SamplingParams>();
  params->presence_penalty = 0.5f;
  params->min_tokens = 2;
  seq->group->request.params = params;
  in = Build({item});
  EXPECT_EQ(in.slot_updates[0].prompt_ids, (Ints{10, 11, 12}));
  EXPECT_EQ(in.slot_updates[0].stop_ids, (Ints{99}));
}

}  // namespace
}  // namespace slipstream::testing
