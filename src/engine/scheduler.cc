#include "engine/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace slipstream {
namespace {

int32_t CeilDiv(int32_t a, int32_t b) { return (a + b - 1) / b; }

// Prompt positions in [start, end) whose successor still has to be scored.
int32_t ScoreRows(const Sequence& seq, int32_t start, int32_t end) {
  if (!seq.scores_prompt) return 0;
  return std::max(0, std::min(end, seq.num_prompt() - 1) - std::max(start, seq.num_scored));
}

// Prompt positions in [start, end) whose state still has to be pooled.
int32_t PoolRows(const Sequence& seq, int32_t start, int32_t end) {
  return std::max(0, std::min(end, seq.num_prompt()) - std::max(start, seq.pool_from));
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits, BlockPool* pool, PrefixCache* cache)
    : limits_(limits), pool_(pool), cache_(cache), block_tokens_(limits.block_size) {
  for (int32_t s = limits.max_num_seqs - 1; s >= 0; --s) free_slots_.push_back(s);
}

void Scheduler::Enqueue(Sequence* seq) {
  seq->status = SequenceStatus::kWaiting;
  waiting_.insert(seq);
}

void Scheduler::Remove(Sequence* seq) {
  if (seq->status == SequenceStatus::kRunning) {
    running_.erase(std::lower_bound(running_.begin(), running_.end(), seq, RunsBefore()));
    free_slots_.push_back(seq->slot);
    seq->slot = -1;
    seq->table.Clear();
  } else if (seq->status == SequenceStatus::kWaiting) {
    waiting_.erase(seq);
  }
  seq->status = SequenceStatus::kFinished;
  if (!seq->admitted_once) Unadmitted(seq->group);
  SequenceGroup* group = seq->group;
  if (group->prompt_computed) return;
  // The choice that was to compute the shared prompt is gone: the next one takes its place.
  bool has_leader = false;
  Sequence* next = nullptr;
  for (const auto& other : group->choices) {
    if (other->status == SequenceStatus::kGated && next == nullptr) next = other.get();
    has_leader |=
        other->status == SequenceStatus::kWaiting || other->status == SequenceStatus::kRunning;
  }
  if (!has_leader && next != nullptr) Enqueue(next);
}

void Scheduler::Schedule(Batch* batch, int32_t max_prefill_tokens) {
  batch->Clear();
  rows_left_ = limits_.max_score_rows;
  CollectDecodes();
  const int32_t num_decodes = static_cast<int32_t>(decodes_.size());
  // Without chunking a prompt needs the whole budget, so decodes take what prompts leave.
  int32_t budget = limits_.max_batch_tokens - (limits_.chunked_prefill ? num_decodes : 0);
  CollectPrefills();
  if (limits_.chunked_prefill && num_decodes > 0) {
    const int32_t most = std::min(budget, max_prefill_tokens);
    budget = WholeTiles(std::min(most, MixedLimit()), most, num_decodes);
  }
  counts_.prefill_limit = budget;
  AdmitWaiting(budget);
  tokens_left_ = budget;
  if (limits_.chunked_prefill) {
    AssignChunked(budget);
  } else {
    AssignWhole();
    decodes_.resize(std::min(num_decodes, tokens_left_));
  }
  for (Sequence* seq : decodes_) Emit(batch, seq, 1);
  EmitPrefills(batch);
}

// Sequences that need one more token, in policy order; they and prompts in progress get the blocks
// they lack.
void Scheduler::CollectDecodes() {
  decodes_.clear();
  // Preemption takes from the back of running_, so an index stays valid.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence* seq = running_[i];
    if (seq->remaining() < 1 || !seq->wants_more()) continue;
    if (!ReserveBlocks(seq)) break;
    if (seq->remaining() == 1) decodes_.push_back(seq);
  }
}

// Blocks for tokens that came after admission: the next one, or forced ones. False when the
// sequence itself was the one to give way.
bool Scheduler::ReserveBlocks(Sequence* seq) {
  while (seq->total() > seq->table.size() * limits_.block_size) {
    if (seq->table.Grow()) continue;
    if (DropSharedPromptsExcept(nullptr)) continue;
    Sequence* victim = running_.back();
    Preempt(victim);
    if (victim == seq) return false;
  }
  return true;
}

void Scheduler::Preempt(Sequence* seq) {
  SLIP_CHECK(running_.back() == seq, "only the last in policy order is preempted");
  running_.pop_back();
  free_slots_.push_back(seq->slot);
  seq->slot = -1;
  seq->table.Clear();
  seq->num_scheduled = seq->num_computed = seq->num_published = 0;
  Enqueue(seq);
  ++seq->num_preemptions;
  ++counts_.preemptions;
}

void Scheduler::CollectPrefills() {
  prefills_.clear();
  for (Sequence* seq : running_) {
    if (seq->remaining() > 1 && seq->wants_more()) prefills_.push_back({seq, 0, 0});
  }
}

// Prompt tokens for a step that also decodes. Decoding alone reads all weights for few tokens, so
// prompts that are spread over the steps cost less than prompts that fill some of them, and no
// stream waits long for one; but when many prompts wait, the first tokens count more.
int32_t Scheduler::MixedLimit() const {
  if (limits_.mixed_prefill_tokens == 0) return limits_.max_batch_tokens;
  const int64_t enough = kMixedSteps * limits_.max_batch_tokens;  // for a full step
  int64_t outstanding = 0;
  for (const Prefill& prefill : prefills_) outstanding += prefill.seq->remaining();
  size_t places = free_slots_.size();
  for (auto it = waiting_.begin(); it != waiting_.end() && places > 0; ++it, --places) {
    outstanding += (*it)->remaining();
    if (outstanding >= enough) break;
  }
  return std::max(limits_.mixed_prefill_tokens, static_cast<int32_t>(outstanding / kMixedSteps));
}

// The nearest number of prompt tokens, at most `most`, that fills tiles together with the decodes.
// What is below a tile was asked for by a small limit and stays.
int32_t Scheduler::WholeTiles(int32_t tokens, int32_t most, int32_t num_decodes) const {
  const int32_t tile = limits_.token_tile;
  if (tokens < tile) return tokens;
  int32_t total = (tokens + num_decodes + tile / 2) / tile * tile;
  if (total - num_decodes > most) total -= tile;
  return total - num_decodes;
}

void Scheduler::AdmitWaiting(int32_t budget) {
  // Tokens the admitted prompts can use; the first may take half when others wait.
  int64_t demand = 0;
  for (size_t i = 0; i < prefills_.size(); ++i) {
    demand += i == 0 ? std::min(prefills_[i].seq->remaining(), CeilDiv(budget, 2))
                     : prefills_[i].seq->remaining();
  }
  auto it = waiting_.begin();
  while (it != waiting_.end() && !free_slots_.empty()) {
    Sequence* seq = *it;
    // A preempted sequence whose last token is still on the device cannot be recomputed yet.
    if (seq->num_in_flight > 0) {
      ++it;
      continue;
    }
    // Beyond the budget, further prompts start only to let short ones overtake a long one.
    const bool enough = !limits_.chunked_prefill || prefills_.size() >= kMaxPrefills;
    if ((demand >= budget && enough) || !TryAdmit(seq)) return;
    it = waiting_.erase(it);
    demand += prefills_.empty() ? std::min(seq->remaining(), CeilDiv(budget, 2)) : seq->remaining();
    prefills_.push_back({seq, 0, 0});
  }
}

bool Scheduler::TryAdmit(Sequence* seq) {
  // Matching a long prompt again in every step would be the most costly part of the schedule.
  if (sharing_.empty() && seq->refused_running == running_.size() &&
      pool_->num_available() <= seq->refused_available) {
    return false;
  }
  const int32_t num_blocks = CeilDiv(seq->total(), limits_.block_size);
  // Head room for the sequences already running, or the newcomer would preempt or be preempted at
  // once. Alone, a sequence always fits.
  const int32_t head_room =
      std::min(static_cast<int32_t>(running_.size()), pool_->num_blocks() / 16);
  for (;;) {
    MatchPrefix(seq);
    int32_t available = pool_->num_available();
    for (const int32_t block : matched_) available -= pool_->ref_count(block) == 0 ? 1 : 0;
    if (num_blocks - static_cast<int32_t>(matched_.size()) + head_room <= available) break;
    if (DropSharedPromptsExcept(seq->group)) continue;
    seq->refused_running = running_.size();
    seq->refused_available = pool_->num_available();
    return false;
  }
  for (const int32_t block : matched_) seq->table.Share(block);
  while (seq->table.size() < num_blocks) {
    SLIP_CHECK(seq->table.Grow(), "the pool has fewer blocks than it counted");
  }
  const int32_t num_cached = static_cast<int32_t>(matched_.size()) * limits_.block_size;
  seq->num_scheduled = seq->num_computed = num_cached;
  seq->num_published = static_cast<int32_t>(matched_.size());
  seq->slot = free_slots_.back();
  seq->slot_loaded = false;
  free_slots_.pop_back();
  seq->status = SequenceStatus::kRunning;
  running_.insert(std::upper_bound(running_.begin(), running_.end(), seq, RunsBefore()), seq);
  CountAdmission(seq, num_cached);
  return true;
}

void Scheduler::CountAdmission(Sequence* seq, int32_t num_cached) {
  if (seq->admitted_once) return;
  seq->admitted_once = true;
  counts_.prefix_query_tokens += seq->num_prompt();
  counts_.prefix_hit_tokens += num_cached;
  SequenceGroup* group = seq->group;
  if (!group->prompt_computed) {
    group->num_cached_tokens = num_cached;
    counts_.first_admitted.push_back(group);
  }
  Unadmitted(group);
}

// Fills matched_ with the blocks whose content can be reused. At least the last token is always
// computed, because its logits are needed; so is every prompt row that is still to be scored or
// pooled.
void Scheduler::MatchPrefix(Sequence* seq) {
  matched_.clear();
  int32_t limit = seq->total() - 1;
  if (!seq->scoring_done()) limit = std::min(limit, seq->num_scored);
  limit = std::min(limit, seq->pool_from);
  const int32_t max_blocks = limit / limits_.block_size;
  if (limits_.prefix_caching) {
    ExtendKeys(seq, max_blocks);
    for (int32_t b = 0; b < max_blocks; ++b) {
      seq->CopyTokens(b * limits_.block_size, block_tokens_);
      const BlockKey& parent = b == 0 ? seq->group->root_key : seq->keys[b - 1];
      const int32_t block = cache_->Find(seq->keys[b], parent, block_tokens_);
      if (block == BlockPool::kNoBlock) break;
      matched_.push_back(block);
    }
  }
  const std::span<const int32_t> shared = seq->group->shared_prompt.blocks();
  const size_t num_shared = std::min<size_t>(shared.size(), max_blocks);
  if (num_shared > matched_.size()) {
    matched_.assign(shared.begin(), shared.begin() + num_shared);
  }
}

void Scheduler::ExtendKeys(Sequence* seq, int32_t num_blocks) {
  for (int32_t b = static_cast<int32_t>(seq->keys.size()); b < num_blocks; ++b) {
    seq->CopyTokens(b * limits_.block_size, block_tokens_);
    const BlockKey& parent = b == 0 ? seq->group->root_key : seq->keys[b - 1];
    seq->keys.push_back(cache_->ChildKey(parent, block_tokens_));
  }
}

void Scheduler::OnComputed(Sequence* seq, int32_t end) {
  seq->num_computed = end;
  if (limits_.prefix_caching) {
    const int32_t num_full = std::min(end, seq->known()) / limits_.block_size;
    if (num_full > seq->num_published) ExtendKeys(seq, num_full);
    for (; seq->num_published < num_full; ++seq->num_published) {
      const int32_t b = seq->num_published;
      seq->CopyTokens(b * limits_.block_size, block_tokens_);
      const BlockKey& parent = b == 0 ? seq->group->root_key : seq->keys[b - 1];
      cache_->Insert(seq->keys[b], parent, block_tokens_, seq->table[b]);
    }
  }
  if (!seq->group->prompt_computed && end >= seq->num_prompt()) {
    ShareWithSiblings(seq->group, *seq);
  }
}

void Scheduler::ShareWithSiblings(SequenceGroup* group, const Sequence& leader) {
  group->prompt_computed = true;
  if (group->num_unadmitted == 0) return;
  const int32_t num_shared = (leader.num_prompt() - 1) / limits_.block_size;
  if (num_shared > 0) {
    group->shared_prompt = BlockTable(pool_);
    for (int32_t b = 0; b < num_shared; ++b) group->shared_prompt.Share(leader.table[b]);
    sharing_.push_back(group);
  }
  for (const auto& choice : group->choices) {
    if (choice->status == SequenceStatus::kGated) Enqueue(choice.get());
  }
}

// One choice fewer is going to need the shared prompt.
void Scheduler::Unadmitted(SequenceGroup* group) {
  if (--group->num_unadmitted == 0) DropSharedPrompt(group);
}

void Scheduler::DropSharedPrompt(SequenceGroup* group) {
  const auto it = std::find(sharing_.begin(), sharing_.end(), group);
  if (it == sharing_.end()) return;
  sharing_.erase(it);
  group->shared_prompt.Clear();
}

// Siblings that come later find the prompt in the prefix cache or compute it again.
bool Scheduler::DropSharedPromptsExcept(const SequenceGroup* keep) {
  bool dropped = false;
  for (size_t i = 0; i < sharing_.size();) {
    if (sharing_[i] == keep) {
      ++i;
      continue;
    }
    sharing_[i]->shared_prompt.Clear();
    sharing_.erase(sharing_.begin() + i);
    dropped = true;
  }
  return dropped;
}

int32_t Scheduler::ChunkLimit(const Sequence& seq) const {
  const int32_t remaining = seq.remaining();
  if (seq.scoring_done()) return remaining;
  const int32_t end = std::max(seq.num_scheduled, seq.num_scored) + rows_left_;
  return end >= seq.num_prompt() - 1 ? remaining : std::min(remaining, end - seq.num_scheduled);
}

void Scheduler::AddChunk(Prefill* prefill, int32_t num_tokens) {
  const Sequence& seq = *prefill->seq;
  prefill->num_tokens += num_tokens;
  const int32_t rows = ScoreRows(seq, seq.num_scheduled, seq.num_scheduled + prefill->num_tokens);
  rows_left_ -= rows - prefill->num_rows;
  prefill->num_rows = rows;
  tokens_left_ -= num_tokens;
}

// The oldest prompt gets at least half of the budget, so it cannot starve, and all it can use when
// no other has less to go: computed side by side, prompts would all end late. The others share the
// rest, shortest first, so that a short prompt does not wait behind a long one.
void Scheduler::AssignChunked(int32_t budget) {
  if (prefills_.empty()) return;
  std::sort(prefills_.begin(), prefills_.end(),
            [](const Prefill& a, const Prefill& b) { return RunsBefore()(a.seq, b.seq); });
  Prefill* first = &prefills_[0];
  const bool shorter = std::any_of(prefills_.begin() + 1, prefills_.end(), [&](const Prefill& p) {
    return p.seq->remaining() < first->seq->remaining();
  });
  const int32_t share = shorter ? CeilDiv(budget, 2) : budget;
  AddChunk(first, std::min(ChunkLimit(*first->seq), share));
  std::stable_sort(prefills_.begin() + 1, prefills_.end(), [](const Prefill& a, const Prefill& b) {
    return a.seq->remaining() < b.seq->remaining();
  });
  for (size_t i = 1; i < prefills_.size(); ++i) {
    AddChunk(&prefills_[i], std::min(ChunkLimit(*prefills_[i].seq), tokens_left_));
  }
  if (first->seq->scoring_done()) {
    AddChunk(first, std::min(first->seq->remaining() - first->num_tokens, tokens_left_));
  }
}

// Each prompt in one piece, in policy order. Only what no step could hold is cut: prompts longer
// than the budget, and prompts whose score rows would not fit.
void Scheduler::AssignWhole() {
  std::sort(prefills_.begin(), prefills_.end(),
            [](const Prefill& a, const Prefill& b) { return RunsBefore()(a.seq, b.seq); });
  for (size_t i = 0; i < prefills_.size(); ++i) {
    const int32_t wanted = ChunkLimit(*prefills_[i].seq);
    if (i > 0 && wanted > tokens_left_) break;
    AddChunk(&prefills_[i], std::min(wanted, tokens_left_));
  }
}

void Scheduler::EmitPrefills(Batch* batch) {
  for (const Prefill& p : prefills_) {
    if (p.num_tokens > 0) Emit(batch, p.seq, p.num_tokens);
  }
}

void Scheduler::Emit(Batch* batch, Sequence* seq, int32_t num_tokens) {
  BatchItem item;
  item.seq = seq;
  item.start = seq->num_scheduled;
  item.num_tokens = num_tokens;
  item.num_score_rows = ScoreRows(*seq, item.start, item.end());
  item.score_start = std::max(item.start, seq->num_scored);
  item.num_pool_rows = PoolRows(*seq, item.start, item.end());
  item.pool_start = std::max(item.start, seq->pool_from);
  item.sample = item.end() == seq->total() && seq->max_outputs > 0;
  item.load_slot = !seq->slot_loaded;
  seq->slot_loaded = true;
  seq->num_scored += item.num_score_rows;
  if (item.num_pool_rows > 0) seq->pool_from = item.pool_start + item.num_pool_rows;
  seq->num_scheduled = item.end();
  seq->num_pending += item.sample ? 1 : 0;
  ++seq->num_in_flight;
  ++seq->group->num_in_flight;
  batch->items.push_back(item);
  batch->num_tokens += num_tokens;
}

}  // namespace slipstream
