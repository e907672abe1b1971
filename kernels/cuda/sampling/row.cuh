// One row of logits as the sampling kernels see it. A row is cut into tiles of 1024 tokens, and a
// tile into 32 groups: group l of a tile holds the 32 tokens that lane l reads when a warp loads
// the tile by eight coalesced 16-byte accesses. The cut is the same whatever the batch.
#pragma once

#include <cstdint>

#include "kernels/api/sampling.h"

namespace slipstream::kernels::sampling {

constexpr int kTile = 1024;
constexpr int kGroup = 32;  // tokens of a group, and groups of a tile
constexpr int kMaxTiles = 1024;
constexpr float kInfinity = __builtin_huge_valf();

__host__ __device__ constexpr int TilesOf(int vocab_size) {
  return (vocab_size + kTile - 1) / kTile;
}
// The group of a token, and the token of element i of a group.
__device__ __forceinline__ int GroupOf(int token) {
  return token / kTile * kGroup + (token % 128) / 4;
}
__device__ __forceinline__ int TokenOf(int group, int i) {
  return group / kGroup * kTile + (i / 4) * 128 + group % kGroup * 4 + i % 4;
}

// What the first kernel leaves of a tile. A maximum of +inf also stands for a NaN in the tile.
struct alignas(16) TileStats {
  float max;       // of the edited logits
  int32_t argmax;  // lowest token that has it
  float sum;       // of exp((x - max) / temperature)
  float raw_max;   // of the logits as they are
  float raw_sum;   // of exp(x - raw_max)
  int32_t unused[3];
};

struct Scratch {
  TileStats* tiles;  // [num_tiles]
  float* group_max;  // [num_groups] of the edited logits
  float* raw_group_max;
};

__host__ __device__ constexpr int64_t ScratchBytesOfTask(int vocab_size) {
  return int64_t{TilesOf(vocab_size)} * (sizeof(TileStats) + 2 * kGroup * sizeof(float));
}

__device__ __forceinline__ Scratch ScratchOf(const SampleTokensParams& p, int task) {
  const int tiles = TilesOf(p.state.vocab_size);
  auto* base =
      static_cast<unsigned char*>(p.scratch) + task * ScratchBytesOfTask(p.state.vocab_size);
  auto* groups = reinterpret_cast<float*>(base + tiles * sizeof(TileStats));
  return {reinterpret_cast<TileStats*>(base), groups, groups + int64_t{tiles} * kGroup};
}

// How a slot's parameters choose a token; both kernels go by it.
struct Mode {
  bool greedy;
  bool use_top_k;
  bool use_floor;  // min_p
  bool largest;    // draw in order of weight; else in order of ids
  bool need_sum;   // the sums of the tiles are of use

  __device__ Mode(const SamplingSlot& s, int vocab_size)
      : greedy(s.temperature < 1e-5f || s.top_k == 1),
        use_top_k(s.top_k > 0 && s.top_k < vocab_size),
        use_floor(s.min_p > 0),
        largest(!greedy && (use_top_k || s.top_p < 1.0f)),
        need_sum(!greedy && !use_top_k && !use_floor) {}
};

struct Row {
  const float* logits;
  int vocab_size;
  bool vector;  // 16-byte accesses are aligned

  __device__ Row(const SampleTokensParams& p, const SampleTask& task)
      : logits(p.logits + task.logits_row * p.logits_stride),
        vocab_size(p.state.vocab_size),
        vector(reinterpret_cast<uintptr_t>(logits) % 16 == 0) {}
};

// Everything that changes single logits of a row before it is sampled from.
struct Edits {
  const uint16_t* counts = nullptr;  // null: no penalties
  float repetition, presence, frequency;
  const LogitBias* bias;
  int num_bias;
  const int32_t* stops;
  int num_stops;  // 0 once min_tokens is reached
  const uint32_t* allowed = nullptr;

  __device__ Edits(const SampleTokensParams& p, int index, int slot_index, const SamplingSlot& slot)
      : repetition(slot.repetition_penalty),
        presence(slot.presence_penalty),
        frequency(slot.frequency_penalty),
        bias(p.state.bias + int64_t{slot_index} * kMaxLogitBias),
        num_bias(min(slot.num_bias, kMaxLogitBias)),
        stops(p.state.stops + int64_t{slot_index} * kMaxMinTokenStops),
        num_stops(slot.num_output < slot.min_tokens ? min(slot.num_stops, kMaxMinTokenStops) : 0) {
    if (slot.has_penalties)
      counts = p.state.token_counts + int64_t{slot_index} * p.state.vocab_size;
    const int row = p.allowed && p.allowed_rows ? p.allowed_rows[index] : -1;
    if (row >= 0) allowed = p.allowed + row * p.allowed_stride;
  }
};

// Tokens past the end of the row are -inf.
__device__ __forceinline__ void LoadGroup(const Row& row, int group, float (&v)[kGroup]) {
#pragma unroll
  for (int j = 0; j < kGroup / 4; ++j) {
    const int token = TokenOf(group, 4 * j);
    if (row.vector && token + 4 <= row.vocab_size) {
      const float4 x = *reinterpret_cast<const float4*>(row.logits + token);
      v[4 * j] = x.x, v[4 * j + 1] = x.y, v[4 * j + 2] = x.z, v[4 * j + 3] = x.w;
    } else {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        v[4 * j + c] = token + c < row.vocab_size ? row.logits[token + c] : -kInfinity;
      }
    }
  }
}

// The host's arithmetic, step by step: no fused multiply-add.
__device__ __forceinline__ float Penalize(float v, uint32_t use, const Edits& e) {
  const uint32_t count = use & 0x7FFF;
  v = v > 0 ? __fdiv_rn(v, e.repetition) : __fmul_rn(v, e.repetition);
  v = __fsub_rn(v, __fmul_rn(e.frequency, static_cast<float>(count)));
  return count > 0 ? __fsub_rn(v, e.presence) : v;
}

__device__ __forceinline__ void ApplyPenalties(const Edits& e, int vocab_size, int group,
                                               float (&v)[kGroup]) {
  const bool vector = reinterpret_cast<uintptr_t>(e.counts) % 8 == 0;
#pragma unroll
  for (int j = 0; j < kGroup / 4; ++j) {
    const int token = TokenOf(group, 4 * j);
    uint32_t use[4] = {};
    if (vector && token + 4 <= vocab_size) {
      const uint2 x = *reinterpret_cast<const uint2*>(e.counts + token);
      use[0] = x.x & 0xFFFF, use[1] = x.x >> 16, use[2] = x.y & 0xFFFF, use[3] = x.y >> 16;
    } else {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (token + c < vocab_size) use[c] = e.counts[token + c];
      }
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (use[c]) v[4 * j + c] = Penalize(v[4 * j + c], use[c], e);
    }
  }
}

// Bias and stops, in the order of the lists; a token may be listed more than once.
__device__ __forceinline__ void ApplyLists(const Edits& e, int group, float (&v)[kGroup]) {
#pragma unroll 8
  for (int n = 0; n < e.num_bias; ++n) {
    const LogitBias entry = e.bias[n];
    if (entry.token < 0 || GroupOf(entry.token) != group) continue;
#pragma unroll 1
    for (int i = 0; i < kGroup; ++i) {
      if (TokenOf(group, i) == entry.token) v[i] = __fadd_rn(v[i], entry.bias);
    }
  }
#pragma unroll 8
  for (int n = 0; n < e.num_stops; ++n) {
    const int token = e.stops[n];
    if (token < 0 || GroupOf(token) != group) continue;
#pragma unroll 1
    for (int i = 0; i < kGroup; ++i) {
      if (TokenOf(group, i) == token) v[i] = -kInfinity;
    }
  }
}

__device__ __forceinline__ void ApplyAllowed(const Edits& e, int vocab_size, int group,
                                             float (&v)[kGroup]) {
#pragma unroll
  for (int j = 0; j < kGroup / 4; ++j) {
    const int token = TokenOf(group, 4 * j);
    const uint32_t bits = token < vocab_size ? e.allowed[token / 32] >> (token % 32) : 0;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (!(bits >> c & 1)) v[4 * j + c] = -kInfinity;
    }
  }
}

// The edits of one token; `listed`: whether the lists may name it.
__device__ __forceinline__ float ApplyEditsToOne(const Edits& e, int token, bool listed, float v) {
  const uint32_t use = e.counts ? e.counts[token] : 0;
  if (use) v = Penalize(v, use, e);
  const int num_bias = listed ? e.num_bias : 0, num_stops = listed ? e.num_stops : 0;
#pragma unroll 8
  for (int n = 0; n < num_bias; ++n) {
    if (e.bias[n].token == token) v = __fadd_rn(v, e.bias[n].bias);
  }
#pragma unroll 8
  for (int n = 0; n < num_stops; ++n) {
    if (e.stops[n] == token) v = -kInfinity;
  }
  return e.allowed && !(e.allowed[token / 32] >> token % 32 & 1) ? -kInfinity : v;
}

}  // namespace slipstream::kernels::sampling
