// The invariants of docs/scheduling.md, checked by tests after every step.
#include <fmt/core.h>

#include <set>

#include "engine/engine_core.h"

namespace slipstream {

Status EngineCore::CheckSequence(const Sequence& seq, std::vector<int32_t>* refs) const {
  const auto broken = [&](const char* what) {
    return Internal(
        fmt::format("request {} choice {}: {}", seq.group->request.id, seq.choice, what));
  };
  for (const int32_t block : seq.table.blocks()) ++(*refs)[block];
  const bool running = seq.status == SequenceStatus::kRunning;
  if (!running && seq.table.size() > 0) return broken("holds blocks without running");
  if (running != (seq.slot >= 0)) return broken("a sampler slot must go with running");
  if (!running) return {};
  if (seq.num_computed > seq.num_scheduled || seq.num_scheduled > seq.total() ||
      seq.num_computed > seq.known()) {
    return broken("computed more tokens than it has");
  }
  if (static_cast<int64_t>(seq.table.size()) * info_.block_size_tokens < seq.num_scheduled) {
    return broken("scheduled tokens without a block");
  }
  // Blocks that are written from here on must be its own.
  for (int32_t b = seq.num_computed / info_.block_size_tokens; b < seq.table.size(); ++b) {
    if (pool_.ref_count(seq.table[b]) != 1) return broken("writes a block that others hold");
  }
  return {};
}

Status EngineCore::CheckInvariants() const {
  std::vector<int32_t> refs(pool_.num_blocks());
  std::set<int32_t> slots;
  size_t num_running = 0;
  for (const auto& group : groups_) {
    for (const auto& seq : group->choices) {
      SLIP_RETURN_IF_ERROR(CheckSequence(*seq, &refs));
      if (seq->slot < 0) continue;
      ++num_running;
      if (!slots.insert(seq->slot).second) return Internal("two sequences share a sampler slot");
    }
    for (const int32_t block : group->shared_prompt.blocks()) ++refs[block];
  }
  if (num_running != scheduler_.num_running()) return Internal("a running sequence is lost");
  int32_t num_held = 0;
  for (int32_t b = 0; b < pool_.num_blocks(); ++b) {
    if (refs[b] != pool_.ref_count(b)) {
      return Internal(fmt::format("block {} has {} references, {} are counted", b, refs[b],
                                  pool_.ref_count(b)));
    }
    num_held += refs[b] > 0 ? 1 : 0;
  }
  if (num_held + pool_.num_reusable() + pool_.num_free() != pool_.num_blocks()) {
    return Internal("held + reusable + free blocks differ from the pool size");
  }
  return {};
}

}  // namespace slipstream
