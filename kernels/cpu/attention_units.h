// The work list of the attention kernel: every worker walks the same list and takes every
// count-th unit. Forced inline, as it is compiled per instruction set.
#pragma once

#include "kernels/api/cpu_attention.h"

namespace slipstream::kernels {

constexpr int kUnitRows = 48;  // query rows (query x head of the group) that share tile loads

[[gnu::always_inline]] constexpr int64_t PaddedHeadDim(int64_t head_dim) {
  return (head_dim + 15) / 16 * 16;
}

// Rows [row_begin, row_end) of one sequence and kv head; row = query * group + head in group.
// partition < 0: all keys. Else one partition, whose states go to partials from partial_row on.
struct AttentionUnit {
  int seq;
  int kv_head;
  int64_t row_begin, row_end;
  int64_t partition;
  int64_t first_partition, num_partitions;
  int64_t partial_row;
};

struct UnitWalk {
  int seq = 0;
  int kv_head = 0;
  int64_t row = 0;
  int64_t partition = 0;    // from first_partition
  int64_t partial_row = 0;  // rows of partials handed out so far
};

// First partition and number of partitions that the queries of a sequence see.
[[gnu::always_inline]] inline void PartitionsOf(const CpuAttentionParams& p, int seq,
                                                int64_t* first, int64_t* count) {
  const int64_t queries = p.query_start[seq + 1] - p.query_start[seq];
  const int64_t last = p.kv_len[seq] - 1;
  const int64_t low = p.sliding_window > 0 ? p.kv_len[seq] - queries - p.sliding_window + 1 : 0;
  *first = low > 0 ? low / kAttentionPartition : 0;
  *count = last / kAttentionPartition - *first + 1;
}

[[gnu::always_inline]] inline bool NextUnit(const CpuAttentionParams& p, UnitWalk* w,
                                            AttentionUnit* u) {
  const int64_t group = p.num_heads / p.kv.num_kv_heads;
  for (;; w->row = 0, w->kv_head = 0, ++w->seq) {
    if (w->seq >= p.num_seqs) return false;
    const int64_t queries = p.query_start[w->seq + 1] - p.query_start[w->seq];
    if (queries > 0 && w->kv_head < p.kv.num_kv_heads) break;
  }
  const int64_t queries = p.query_start[w->seq + 1] - p.query_start[w->seq];
  u->seq = w->seq;
  u->kv_head = w->kv_head;
  u->row_begin = w->row;
  u->row_end = w->row + kUnitRows < queries * group ? w->row + kUnitRows : queries * group;
  PartitionsOf(p, w->seq, &u->first_partition, &u->num_partitions);
  if (queries <= kSplitMaxQueries && u->num_partitions > 1) {
    u->partition = u->first_partition + w->partition;
    u->partial_row = w->partial_row;
    w->partial_row += u->row_end - u->row_begin;
    if (++w->partition < u->num_partitions) return true;
    w->partition = 0;
  } else {
    u->partition = -1;
    u->partial_row = 0;
  }
  w->row = u->row_end;
  if (w->row < queries * group) return true;
  w->row = 0;
  ++w->kv_head;
  return true;
}

}  // namespace slipstream::kernels
