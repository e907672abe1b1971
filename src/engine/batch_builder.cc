#include "engine/batch_builder.h"

#include <algorithm>

namespace slipstream {
namespace {

bool HasPenalties(const SamplingParams& p) {
  return p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f;
}

bool IsConstrained(const BatchItem& item) { return item.sample && item.seq->constraint != nullptr; }

SamplerSlotUpdate SlotUpdate(const Sequence& seq) {
  const SequenceGroup& group = *seq.group;
  SamplerSlotUpdate update;
  update.slot = seq.slot;
  update.params = group.request.params;
  update.seed = seq.seed;
  if (HasPenalties(*group.request.params)) update.prompt_ids = group.request.prompt_ids;
  update.output_ids = seq.outputs;
  if (group.request.params->min_tokens > 0) update.stop_ids = group.stop_ids;
  return update;
}

}  // namespace

ForwardInput BatchBuilder::Build(const Batch& batch, uint64_t step) const {
  ForwardInput input;
  input.step = step;
  const size_t num_seqs = batch.items.size();
  for (const BatchItem& item : batch.items) {
    input.masks_follow |= IsConstrained(item) && item.seq->num_pending > 1;
    input.max_blocks = std::max(input.max_blocks, (item.end() + block_size_ - 1) / block_size_);
  }
  input.token_ids.reserve(batch.num_tokens);
  input.positions.reserve(batch.num_tokens);
  input.slot_ids.reserve(batch.num_tokens);
  input.query_start.reserve(num_seqs + 1);
  input.kv_len.reserve(num_seqs);
  input.block_tables.resize(num_seqs * input.max_blocks);
  input.sample_rows.reserve(num_seqs);
  int32_t* table = input.block_tables.data();
  for (const BatchItem& item : batch.items) {
    const int32_t first_row = input.num_tokens();
    input.query_start.push_back(first_row);
    AppendTokens(item, &input);
    input.kv_len.push_back(item.end());
    const int32_t num_blocks = (item.end() + block_size_ - 1) / block_size_;
    std::copy_n(item.seq->table.blocks().data(), num_blocks, table);
    table += input.max_blocks;
    AppendRows(item, first_row, &input);
    if (item.load_slot) input.slot_updates.push_back(SlotUpdate(*item.seq));
  }
  input.query_start.push_back(input.num_tokens());
  return input;
}

void BatchBuilder::AppendTokens(const BatchItem& item, ForwardInput* input) const {
  const Sequence& seq = *item.seq;
  const size_t first = input->token_ids.size();
  const int32_t num_known = std::min(item.end(), seq.known()) - item.start;
  input->token_ids.resize(first + item.num_tokens, -1 - seq.slot);
  if (num_known > 0) {
    seq.CopyTokens(item.start, {input->token_ids.data() + first, static_cast<size_t>(num_known)});
  }
  for (int32_t i = item.start; i < item.end(); ++i) {
    input->positions.push_back(i);
    input->slot_ids.push_back(static_cast<int64_t>(seq.table[i / block_size_]) * block_size_ +
                              i % block_size_);
  }
}

void BatchBuilder::AppendRows(const BatchItem& item, int32_t first_row, ForwardInput* input) const {
  const Sequence& seq = *item.seq;
  for (int32_t i = 0; i < item.num_score_rows; ++i) {
    const int32_t position = item.score_start + i;
    input->sample_rows.push_back(
        {first_row + position - item.start, seq.slot, seq.token(position + 1)});
  }
  if (item.num_pool_rows > 0) {
    input->pool_runs.push_back({first_row + item.pool_start - item.start, item.num_pool_rows});
  }
  if (!item.sample) return;
  SampleRow row{first_row + item.num_tokens - 1, seq.slot};
  if (IsConstrained(item)) AppendMask(item, &row, input);
  input->sample_rows.push_back(row);
}

void BatchBuilder::AppendMask(const BatchItem& item, SampleRow* row, ForwardInput* input) const {
  const std::vector<uint32_t>& mask = item.seq->mask;
  if (!input->masks_follow) {
    if (mask.empty()) return;
    input->token_masks.insert(input->token_masks.end(), mask.begin(), mask.end());
  }
  row->mask = input->num_masks++;
}

std::vector<uint32_t> BatchBuilder::LateMasks(const Batch& batch) const {
  const auto count = std::count_if(batch.items.begin(), batch.items.end(), IsConstrained);
  std::vector<uint32_t> out;
  out.reserve(static_cast<size_t>(count) * mask_words_);
  for (const BatchItem& item : batch.items) {
    if (!IsConstrained(item)) continue;
    const Sequence& seq = *item.seq;
    if (seq.mask.empty() || seq.status == SequenceStatus::kFinished) {
      out.resize(out.size() + mask_words_, ~uint32_t{0});
    } else {
      out.insert(out.end(), seq.mask.begin(), seq.mask.end());
    }
  }
  return out;
}

}  // namespace slipstream
