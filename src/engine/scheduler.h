// Chooses what the next step computes. A pure step function over its queues, the block pool and the
// budget: no clock, no I/O, no device. Owned by EngineCore, engine thread only; nothing fails,
// because EngineCore accepts only sequences that fit into the pool alone.
//
// A step gives every decoding sequence its token, then spends the rest of the token budget on
// prompts. A prompt gets all its blocks when it is admitted, so prefill never waits half-way for
// memory. When a decode finds no block, the last sequence in policy order gives up its blocks and
// waits to be recomputed; the first in policy order therefore always advances. docs/scheduling.md.
// Source: Agrawal et al. 2024, "Taming Throughput-Latency Tradeoff in LLM Inference with
// Sarathi-Serve" (chunked prefill that shares steps with decodes).
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "engine/batch.h"
#include "engine/block_pool.h"
#include "engine/policy.h"
#include "engine/prefix_cache.h"
#include "engine/sequence.h"

namespace slipstream {

struct SchedulerLimits {
  int block_size = 16;    // tokens
  int max_num_seqs = 64;  // sequences with blocks; <= max_batch_tokens
  int max_batch_tokens = 2048;
  // Prompt tokens of a step that also decodes while few wait; 0: what max_batch_tokens leaves.
  int mixed_prefill_tokens = 0;
  int token_tile = 1;        // mixed steps get as many prompt tokens as fill whole tiles
  int max_score_rows = 128;  // logit rows of prompt scoring in one step, >= 1
  bool chunked_prefill = true;
  bool prefix_caching = true;
};

// What happened since the counts were last cleared.
struct SchedulerCounts {
  int64_t prefix_query_tokens = 0;
  int64_t prefix_hit_tokens = 0;
  int64_t preemptions = 0;
  int32_t prefill_limit = 0;                   // prompt tokens that the latest step could have had
  std::vector<SequenceGroup*> first_admitted;  // groups whose first choice got its blocks
};

class Scheduler {
 public:
  Scheduler(const SchedulerLimits& limits, BlockPool* pool, PrefixCache* cache);

  void Enqueue(Sequence* seq);

  // Takes a sequence out of the queues and frees its blocks and slot. Any status but kFinished.
  void Remove(Sequence* seq);

  // `max_prefill_tokens` bounds the prompt tokens of a step that also decodes (chunked prefill).
  void Schedule(Batch* batch, int32_t max_prefill_tokens = INT32_MAX);

  // The step that computed tokens up to `end` has succeeded: publishes full blocks to the prefix
  // cache and, once the prompt is there, lets the other choices of the group in.
  void OnComputed(Sequence* seq, int32_t end);

  size_t num_running() const { return running_.size(); }
  size_t num_waiting() const { return waiting_.size(); }
  const std::vector<Sequence*>& running() const { return running_; }
  const std::set<Sequence*, RunsBefore>& waiting() const { return waiting_; }
  const std::vector<SequenceGroup*>& sharing() const { return sharing_; }
  SchedulerCounts& counts() { return counts_; }

 private:
  // Prompts that are computed side by side: enough that short ones overtake a long one, few enough
  // that their blocks do not fill the pool.
  static constexpr size_t kMaxPrefills = 8;
  // Steps that decode finish the prompts that are there in about as many steps.
  static constexpr int64_t kMixedSteps = 16;

  struct Prefill {
    Sequence* seq;
    int32_t num_tokens;  // granted in this step
    int32_t num_rows;    // score rows among them
  };

  void CollectDecodes();
  bool ReserveBlocks(Sequence* seq);
  void Preempt(Sequence* seq);
  void CollectPrefills();
  int32_t MixedLimit() const;
  int32_t WholeTiles(int32_t tokens, int32_t most, int32_t num_decodes) const;
  void AdmitWaiting(int32_t budget);
  bool TryAdmit(Sequence* seq);
  void MatchPrefix(Sequence* seq);
  void ExtendKeys(Sequence* seq, int32_t num_blocks);
  void CountAdmission(Sequence* seq, int32_t num_cached);
  int32_t ChunkLimit(const Sequence& seq) const;
  void AssignChunked(int32_t budget);
  void AssignWhole();
  void AddChunk(Prefill* prefill, int32_t num_tokens);
  void EmitPrefills(Batch* batch);
  void Emit(Batch* batch, Sequence* seq, int32_t num_tokens);
  void ShareWithSiblings(SequenceGroup* group, const Sequence& leader);
  void DropSharedPrompt(SequenceGroup* group);
  bool DropSharedPromptsExcept(const SequenceGroup* keep);
  void Unadmitted(SequenceGroup* group);

  const SchedulerLimits limits_;
  BlockPool* const pool_;
  PrefixCache* const cache_;
  std::vector<Sequence*> running_;  // in policy order
  std::set<Sequence*, RunsBefore> waiting_;
  std::vector<SequenceGroup*> sharing_;  // groups that hold a shared prompt
  std::vector<int32_t> free_slots_;
  SchedulerCounts counts_;

  // Scratch of one step.
  std::vector<Sequence*> decodes_;
  std::vector<Prefill> prefills_;
  std::vector<int32_t> matched_;
  std::vector<int32_t> block_tokens_;
  int32_t tokens_left_ = 0;
  int32_t rows_left_ = 0;
};

}  // namespace slipstream
