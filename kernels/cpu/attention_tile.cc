#include "kernels/cpu/attention_tile.h"

namespace slipstream::kernels::SLIP_ISA {
namespace {

// Query rows that share one pass over a tile, and vectors of it at once: as many as leave the
// accumulators in registers.
constexpr int kRowsPerPass = kVectorRegisters >= 8 ? 6 : 2;
constexpr int kVectorsAtOnce = kVectorRegisters >= 32 ? 4 : 1;
static_assert(kRowsPerPass <= kTileRowsMax);

// prob[i][key] = q_i . k_key, dimensions in order; N vectors of keys from vector `first`.
template <int R, int N>
SLIP_INLINE void Scores(const QueryRows& rows, const KeyTile& tile, int row, int first) {
  F32x16 s[R][N];
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < N; ++j) s[i][j] = Zero();
  }
  const float* q = rows.q + static_cast<int64_t>(row) * rows.padded_dim;
  for (int d = 0; d < rows.head_dim; ++d) {
    F32x16 k[N];
    for (int j = 0; j < N; ++j) k[j] = Load(tile.k[first + j] + d * tile.k_step);
    for (int i = 0; i < R; ++i) {
      const F32x16 x = Set1(q[i * rows.padded_dim + d]);
      for (int j = 0; j < N; ++j) s[i][j] = Fma(k[j], x, s[i][j]);
    }
  }
  float* out = rows.prob + first * kLanes;
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < N; ++j) Store(out + i * kTileKeys + j * kLanes, s[i][j]);
  }
}

// Turns the scores of one row into weights; returns what its older sums are multiplied with.
SLIP_INLINE F32x16 Softmax(const QueryRows& rows, int row, float* prob, int64_t start) {
  const int64_t lo = rows.first_key[row] - start, hi = rows.last_key[row] + 1 - start;
  const bool masked = lo > 0 || hi < kTileKeys;
  F32x16 s[kTileVectors];
  for (int j = 0; j < kTileVectors; ++j) {
    s[j] = Load(prob + j * kLanes);
    if (rows.softcap > 0.0f) {
      s[j] = Mul(Set1(rows.softcap), Tanh(Mul(s[j], Set1(1.0f / rows.softcap))));
    }
    if (masked) s[j] = SelectLanes(lo - j * kLanes, hi - j * kLanes, s[j], Set1(kNoMax));
  }
  const float tile_max = ReduceMax(Max(Max(s[0], s[1]), Max(s[2], s[3])));
  const float old_max = rows.max[row];
  const float max = old_max > tile_max ? old_max : tile_max;
  for (int j = 0; j < kTileVectors; ++j) {
    s[j] = Exp(Sub(s[j], Set1(max)));
    if (masked) s[j] = SelectLanes(lo - j * kLanes, hi - j * kLanes, s[j], Zero());
    Store(prob + j * kLanes, s[j]);
  }
  const F32x16 keep = Exp(Set1(old_max - max));
  float kept[kLanes];
  Store(kept, keep);
  rows.sum[row] = rows.sum[row] * kept[0] + ReduceAdd(Add(Add(s[0], s[1]), Add(s[2], s[3])));
  rows.max[row] = max;
  return keep;
}

// acc = acc * keep + sum over keys, in order, of weight * value; N vectors from dimension `dim`.
template <int R, int N>
SLIP_INLINE void WeightedValues(const QueryRows& rows, const KeyTile& tile, int row, int dim,
                                const F32x16* keep) {
  F32x16 acc[R][N];
  float* out = rows.acc + static_cast<int64_t>(row) * rows.padded_dim + dim;
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < N; ++j) {
      acc[i][j] = Mul(Load(out + i * rows.padded_dim + j * kLanes), keep[i]);
    }
  }
  for (int key = 0; key < tile.num_keys; ++key) {
    F32x16 v[N];
    for (int j = 0; j < N; ++j) v[j] = Load(tile.v[key] + dim + j * kLanes);
    for (int i = 0; i < R; ++i) {
      const F32x16 p = Set1(rows.prob[i * kTileKeys + key]);
      for (int j = 0; j < N; ++j) acc[i][j] = Fma(v[j], p, acc[i][j]);
    }
  }
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < N; ++j) Store(out + i * rows.padded_dim + j * kLanes, acc[i][j]);
  }
}

template <int R>
void Pass(const QueryRows& rows, const KeyTile& tile, int row, int64_t start) {
  for (int j = 0; j < kTileVectors; j += kVectorsAtOnce) {
    Scores<R, kVectorsAtOnce>(rows, tile, row, j);
  }
  F32x16 keep[R];
  for (int i = 0; i < R; ++i) {
    keep[i] = Softmax(rows, row + i, rows.prob + i * kTileKeys, start);
  }
  int dim = 0;
  constexpr int kStep = kVectorsAtOnce * kLanes;
  for (; dim + kStep <= rows.padded_dim; dim += kStep) {
    WeightedValues<R, kVectorsAtOnce>(rows, tile, row, dim, keep);
  }
  for (; dim < rows.padded_dim; dim += kLanes) WeightedValues<R, 1>(rows, tile, row, dim, keep);
}

}  // namespace

void AttendTile(const QueryRows& rows, const KeyTile& tile, int64_t start) {
  int row = 0;
  // Rows that see none of this tile would be left as they are; early queries come first.
  while (row + kRowsPerPass <= rows.count && rows.last_key[row + kRowsPerPass - 1] < start) {
    row += kRowsPerPass;
  }
  for (; row + kRowsPerPass <= rows.count; row += kRowsPerPass) {
    Pass<kRowsPerPass>(rows, tile, row, start);
  }
  while (row < rows.count) {
    const int left = rows.count - row;
    if (left >= 3 && kRowsPerPass >= 3) {
      Pass<3>(rows, tile, row, start);
      row += 3;
    } else {
      Pass<1>(rows, tile, row, start);
      row += 1;
    }
  }
}

}  // namespace slipstream::kernels::SLIP_ISA
