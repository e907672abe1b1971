// One tile of 64 keys against a few query rows: scores, online softmax, weighted sum of values.
#pragma once

#include "kernels/cpu/simd.h"

namespace slipstream::kernels::SLIP_ISA {

constexpr int kTileKeys = 64;
constexpr int kTileVectors = kTileKeys / kLanes;
// Running maximum before any key. Finite, so that differences of maxima are never inf - inf.
constexpr float kNoMax = -1e30f;

// Keys and values of a tile in float32. Only the first num_keys of them may be read, K in whole
// vectors of 16.
struct KeyTile {
  const float* k[kTileVectors];  // [head_dim] rows of 16 keys, k_step floats apart
  int64_t k_step;
  const float* v[kTileKeys];  // each [padded_dim]
  int num_keys;
};

// State of the query rows of a unit of work. A row is one head of one query.
struct QueryRows {
  int count = 0;
  int head_dim = 0;
  int padded_dim = 0;  // head_dim rounded up to 16
  float softcap = 0.0f;
  float* q = nullptr;            // [count, padded_dim], times the scale
  float* acc = nullptr;          // [count, padded_dim] weighted sum of values
  float* max = nullptr;          // [count]
  float* sum = nullptr;          // [count]
  float* prob = nullptr;         // [kTileRowsMax, kTileKeys] scratch
  int64_t* first_key = nullptr;  // [count] keys first_key..last_key are visible
  int64_t* last_key = nullptr;
};

constexpr int kTileRowsMax = 8;

// Adds the keys of a tile that starts at position `start` to every row.
void AttendTile(const QueryRows& rows, const KeyTile& tile, int64_t start);

// total = total merged with part; each is (max, sum, acc).
SLIP_INLINE void MergeState(float* max, float* sum, float* acc, float part_max, float part_sum,
                            const float* part_acc, int padded_dim) {
  const float m = *max > part_max ? *max : part_max;
  const F32x16 keep = Exp(Set1(*max - m)), take = Exp(Set1(part_max - m));
  for (int i = 0; i < padded_dim; i += kLanes) {
    Store(acc + i, Fma(Load(acc + i), keep, Mul(Load(part_acc + i), take)));
  }
  float s[kLanes];
  Store(s, Fma(Set1(*sum), keep, Mul(Set1(part_sum), take)));
  *sum = s[0];
  *max = m;
}

}  // namespace slipstream::kernels::SLIP_ISA
