// Causal attention over a paged KV cache on the CPU. Stateless, any thread; workers take their
// share of (sequence, kv head, queries or key partition); then, after all are done, the combine.
//
// Promise: a query's result depends on its own q and the K/V it sees alone, bit for bit: not on the
// batch, on how its prompt was chunked, or on the number of workers. Keys are processed in tiles
// of 64 and partitions of kAttentionPartition, both aligned to absolute positions, with an online
// softmax (Milakov and Gimelshein 2018) inside a partition and partitions merged in order
// (Dao et al., Flash-Decoding, 2023).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/api/types.h"

namespace slipstream::kernels {

// K and V of one layer. Block b, kv head h: tile at + b * block_stride + h * head_stride elements.
// The CPU keeps a V tile as [block_size, head_dim] and a K tile transposed, [head_dim, block_size]:
// scores of 16 keys are then one vector and need no horizontal sums.
struct CpuKvView {
  void* k = nullptr;
  void* v = nullptr;
  DType dtype = DType::kF32;  // kF32, kF16 or kBF16
  int64_t block_stride = 0;
  int64_t head_stride = 0;
  int block_size = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
};

constexpr int kAttentionPartition = 256;

struct CpuAttentionParams {
  const float* q = nullptr;  // [num_tokens, num_heads * head_dim] f32, rows q_stride apart
  int64_t q_stride = 0;
  float* out = nullptr;  // [num_tokens, num_heads * head_dim] f32
  CpuKvView kv;
  int num_heads = 0;
  int num_seqs = 0;
  const int32_t* query_start = nullptr;   // [num_seqs + 1]
  const int32_t* kv_len = nullptr;        // [num_seqs], this step's tokens included
  const int32_t* block_tables = nullptr;  // [num_seqs, max_blocks]
  int max_blocks = 0;
  float scale = 1.0f;
  int sliding_window = 0;      // a query at p sees keys in (p - window, p]; 0: all
  float logit_softcap = 0.0f;  // 0: none
  float* partials = nullptr;   // AttentionPartialBytes
  float* scratch = nullptr;    // count * AttentionScratchBytes, one slice per worker
};

// Sequences with at most this many queries in the step split their keys over workers.
constexpr int kSplitMaxQueries = 4;

size_t AttentionPartialBytes(const CpuAttentionParams& p);
size_t AttentionScratchBytes(const CpuAttentionParams& p);

namespace reference {
// One query head against dense K, V [kv_len, head_dim]; the query is at position kv_len - 1.
void AttendOne(const float* q, const float* k, const float* v, int64_t kv_len, int head_dim,
               float scale, int sliding_window, float logit_softcap, float* out);
}  // namespace reference

}  // namespace slipstream::kernels
