// The math side of decode attention: one warp's online softmax over KV tiles in shared memory.
//
// KV tokens sit on the M side of the tensor cores, query rows on N (padded to 8):
//   S^T[tokens, rows] = K Q^T     A = K from ldmatrix,            B = Q^T held in registers
//   O^T[dim, rows]   += V^T P^T   A = V^T from ldmatrix.trans,    B = P^T, S^T turned by movmatrix
// Both accumulators have rows on the same lanes, so rescaling needs no exchange.
#pragma once

#include "kernels/api/kv_layout.h"
#include "kernels/cuda/attention/decode_prefetch_params.h"
#include "kernels/cuda/attention/decode_prefetch_traits.cuh"

namespace slipstream::kernels {

inline constexpr float kLog2e = 1.4426950408889634f;
inline constexpr float kNoScore = -1e30f;  // finite, so that differences of maxima are never NaN

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The query rows of a segment: row r is query r / group of the sequence, head r % group.
struct RowMap {
  int first_row;  // of the pass
  int num_rows;   // of the pass
  int group;
  int first_key_end;  // keys visible to query 0: [.., first_key_end)
  int window;

  __device__ __forceinline__ bool Sees(int row, int token) const {
    const int end = first_key_end + (first_row + row) / group;
    return token < end && (window == 0 || token >= end - window);
  }
  // Whether some row does not see some token of the tile.
  __device__ __forceinline__ bool Partial(int tile_begin, int tile_end) const {
    return tile_end > first_key_end ||
           (window != 0 &&
            tile_begin < first_key_end + (first_row + num_rows - 1) / group - window);
  }
};

template <typename Traits>
class RowState {
 public:
  using Kv = typename Traits::Kv;
  using Q = typename Traits::Q;
  static constexpr int kColTiles = Traits::kColTiles;
  static constexpr int kPieces = Traits::kPieces;
  // Probabilities of an 8-bit cache are stored times 2^8 to stay clear of e4m3's subnormals.
  static constexpr float kShift = Traits::k8Bit ? 8.0f : 0.0f;

  __device__ RowState(int lane) : lane_(lane) {}

  // q: first element of the pass's KV head in the sequence's first token.
  __device__ void Begin(const DecodeParams& p, const Q* q, const RowMap& rows) {
#pragma unroll
    for (int n = 0; n < kColTiles; ++n) {
      const int row = n * 8 + (lane_ >> 2);
      const bool real = row < rows.num_rows;
      const int r = rows.first_row + row;
      const Q* at = q + (r / p.group) * p.q_token_stride + (r % p.group) * Traits::kHeadDim;
      LoadQuery(n, at, real);
      max_[n][0] = max_[n][1] = kNoScore;
      sum_[n][0] = sum_[n][1] = 0;
#pragma unroll
      for (int m = 0; m < Traits::kMTiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out_[m][n][i] = 0;
      }
    }
  }

  // One tile at shared address `tile` that starts at token `token0`.
  __device__ __forceinline__ void Tile(const DecodeParams& p, uint32_t tile, int token0,
                                       const RowMap& rows, int num_tokens) {
    float s[kPieces][kColTiles][4];
    Scores(tile, s);
    const bool partial = rows.Partial(token0, token0 + Traits::kTileTokens);
    Scale(p, s);
    if (partial) Mask(rows, token0, s);
    uint32_t prob[kColTiles][2];
    Softmax(s, prob);
    AddValues(tile + kPieces * Traits::kPieceBytes, prob, num_tokens - token0);
  }

  // Adds the lanes' sums. Call once after the last tile.
  __device__ __forceinline__ void End() {
#pragma unroll
    for (int n = 0; n < kColTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
#pragma unroll
        for (int x = 4; x < 32; x *= 2) sum_[n][e] += __shfl_xor_sync(~0u, sum_[n][e], x);
      }
    }
  }

  // Unnormalised output, maximum and sum of this warp to shared memory.
  __device__ __forceinline__ void Store(float* out, float2* stat, int num_rows) const {
#pragma unroll
    for (int n = 0; n < kColTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = n * 8 + (lane_ & 3) * 2 + e;
        if (row >= num_rows) continue;
        if (lane_ < 4) stat[row] = make_float2(max_[n][e], sum_[n][e]);
#pragma unroll
        for (int m = 0; m < Traits::kMTiles; ++m) {
          float* at = out + row * Traits::kRowPitch + m * 16 + (lane_ >> 2);
          at[0] = out_[m][n][e];
          at[8] = out_[m][n][e + 2];
        }
      }
    }
  }

 private:
  __device__ __forceinline__ void LoadQuery(int n, const Q* at, bool real) {
    const int t = lane_ & 3;
    if constexpr (!Traits::k8Bit) {
#pragma unroll
      for (int k = 0; k < Traits::kKSteps; ++k) {
        const auto* x = reinterpret_cast<const uint32_t*>(at + k * 16 + t * 2);
        query_[n][k][0] = real ? x[0] : 0;
        query_[n][k][1] = real ? x[4] : 0;
      }
    } else {
      // e4m3 with one scale per row: the row's largest element becomes 448.
      float x[Traits::kKSteps][8];
      float largest = 0;
#pragma unroll
      for (int k = 0; k < Traits::kKSteps; ++k) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const uint2 raw =
              real ? *reinterpret_cast<const uint2*>(at + k * 32 + h * 16 + t * 4) : uint2{0, 0};
          const float2 a = Unpack<Q>(raw.x), b = Unpack<Q>(raw.y);
          x[k][4 * h] = a.x, x[k][4 * h + 1] = a.y, x[k][4 * h + 2] = b.x, x[k][4 * h + 3] = b.y;
#pragma unroll
          for (int i = 0; i < 4; ++i) largest = fmaxf(largest, fabsf(x[k][4 * h + i]));
        }
      }
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
      const float inv = largest > 0 ? 448.0f / largest : 0.0f;
#pragma unroll
      for (int k = 0; k < Traits::kKSteps; ++k) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float* v = &x[k][4 * h];
          query_[n][k][h] = PackE4M3(v[0] * inv, v[1] * inv) | PackE4M3(v[2] * inv, v[3] * inv)
                                                                   << 16;
        }
      }
      // Scores come out with rows on lane pairs: fetch the scales of those rows.
      const float scale = largest / 448.0f;
      query_scale_[n][0] = __shfl_sync(~0u, scale, t * 8);
      query_scale_[n][1] = __shfl_sync(~0u, scale, t * 8 + 4);
    }
  }

  // KeyByteOffset of an element, in two parts: what depends on the token, and what on the byte of
  // the row (known when compiling) and the swizzled lowest bits of its 16-byte chunk.
  static __device__ __forceinline__ uint32_t TokenOffset(int token) {
    return (token >> 3) * (8 * Traits::kRowBytes) + (token & 7) * Traits::kAtomRowBytes;
  }
  static __device__ __forceinline__ uint32_t ChunkOffset(int byte, int chunk) {
    return byte / Traits::kAtomRowBytes * Traits::kAtomRowBytes * 8 +
           ((byte % Traits::kAtomRowBytes) ^ chunk);
  }

  __device__ __forceinline__ void Scores(uint32_t keys, float (&s)[kPieces][kColTiles][4]) const {
    const int token = lane_ & 15;
    // Chunk 2k + hi of a row sits at (2k + hi) ^ swizzle = 2k ^ (hi ^ swizzle).
    const int chunk = ((lane_ >> 4) ^ ChunkSwizzle(token, Traits::kRowBytes)) * 16;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      const uint32_t row = keys + piece * Traits::kPieceBytes + TokenOffset(token);
      float odd[kColTiles][4];  // a second chain, for latency
#pragma unroll
      for (int n = 0; n < kColTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) s[piece][n][i] = odd[n][i] = 0;
      }
#pragma unroll
      for (int k = 0; k < Traits::kKSteps; ++k) {
        uint32_t a[4];
        LoadMatrix4(a, row + ChunkOffset(k * 32, chunk));
#pragma unroll
        for (int n = 0; n < kColTiles; ++n) {
          Mma<Kv>(k % 2 ? odd[n] : s[piece][n], a, query_[n][k][0], query_[n][k][1]);
        }
      }
#pragma unroll
      for (int n = 0; n < kColTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) s[piece][n][i] += odd[n][i];
      }
    }
  }

  __device__ __forceinline__ void Scale(const DecodeParams& p,
                                        float (&s)[kPieces][kColTiles][4]) const {
#pragma unroll
    for (int n = 0; n < kColTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float scale = p.score_scale;
        if constexpr (Traits::k8Bit) scale *= query_scale_[n][i & 1];
#pragma unroll
        for (int piece = 0; piece < kPieces; ++piece) s[piece][n][i] *= scale;
      }
    }
    if (p.softcap > 0) {
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
#pragma unroll
        for (int n = 0; n < kColTiles; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            // tanh x = 1 - 2 / (e^2x + 1), saturating at both ends.
            const float e = Exp2(s[piece][n][i] * (2.0f * kLog2e / p.softcap));
            s[piece][n][i] = p.softcap * kLog2e * (1.0f - __fdividef(2.0f, e + 1.0f));
          }
        }
      }
    }
  }

  __device__ __forceinline__ void Mask(const RowMap& rows, int token0,
                                       float (&s)[kPieces][kColTiles][4]) const {
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
#pragma unroll
      for (int n = 0; n < kColTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = n * 8 + (lane_ & 3) * 2 + (i & 1);
          const int token = token0 + piece * 16 + (lane_ >> 2) + (i >> 1) * 8;
          if (!rows.Sees(row, token)) s[piece][n][i] = -INFINITY;
        }
      }
    }
  }

  // Online softmax over the tile; leaves P^T as the B operand of the second product.
  __device__ __forceinline__ void Softmax(const float (&s)[kPieces][kColTiles][4],
                                          uint32_t (&prob)[kColTiles][2]) {
    float factor[kColTiles][2];
    bool grew = false;
#pragma unroll
    for (int n = 0; n < kColTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float m = fmaxf(s[0][n][e], s[0][n][e + 2]);
        if constexpr (kPieces > 1) m = fmaxf(m, fmaxf(s[1][n][e], s[1][n][e + 2]));
#pragma unroll
        for (int x = 4; x < 32; x *= 2) m = fmaxf(m, __shfl_xor_sync(~0u, m, x));
        grew |= m > max_[n][e];
        m = fmaxf(m, max_[n][e]);
        factor[n][e] = Exp2(max_[n][e] - m);
        max_[n][e] = m;
      }
      float pr[kPieces][4];
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
#pragma unroll
        for (int i = 0; i < 4; ++i) pr[piece][i] = Exp2(s[piece][n][i] - max_[n][i & 1] + kShift);
      }
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float add = pr[0][e] + pr[0][e + 2];
        if constexpr (kPieces > 1) add += pr[1][e] + pr[1][e + 2];
        sum_[n][e] = sum_[n][e] * factor[n][e] + add;
      }
      if constexpr (Traits::k8Bit) {
        // A 16-bit element is the pair (token g, token g + 8): the order V is stored in.
#pragma unroll
        for (int piece = 0; piece < 2; ++piece) {
          prob[n][piece] = TransposeMatrix(PackE4M3(pr[piece][0], pr[piece][2]) |
                                           PackE4M3(pr[piece][1], pr[piece][3]) << 16);
        }
      } else {
        prob[n][0] = TransposeMatrix(Pack<Kv>(pr[0][0], pr[0][1]));
        prob[n][1] = TransposeMatrix(Pack<Kv>(pr[0][2], pr[0][3]));
      }
    }
    // Maxima settle after a few tiles; from then on there is nothing to rescale.
    if (__any_sync(~0u, grew)) {
#pragma unroll
      for (int m = 0; m < Traits::kMTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kColTiles; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) out_[m][n][i] *= factor[n][i & 1];
        }
      }
    }
  }

  __device__ __forceinline__ void AddValues(uint32_t values, const uint32_t (&prob)[kColTiles][2],
                                            int valid) {
    const int j = lane_ >> 3;  // which of the four 8x8 matrices this lane addresses
    uint32_t keep[2] = {~0u, ~0u};
    // Slots past the end may hold anything, NaN too, and 0 * NaN is NaN: clear them.
    const bool partial = valid < Traits::kTileTokens;
    if (partial) ValueMasks(valid, keep);
    uint32_t row;
    int chunk = 0;
    if constexpr (Traits::k8Bit) {
      row = values + (j >> 1) * Traits::kPieceBytes + ((lane_ & 7) + (j & 1) * 8) * 16;
    } else {
      const int token = (lane_ & 7) + (j >> 1) * 8;
      row = values + TokenOffset(token);
      chunk = ((j & 1) ^ ChunkSwizzle(token, Traits::kRowBytes)) * 16;
    }
#pragma unroll
    for (int m = 0; m < Traits::kMTiles; ++m) {
      uint32_t a[4];
      if constexpr (Traits::k8Bit) {
        LoadMatrix4(a, row + m * 256);
      } else {
        LoadMatrix4Transposed(a, row + ChunkOffset(m * 32, chunk));
      }
      if (partial) {
        a[0] &= keep[0], a[1] &= keep[0], a[2] &= keep[1], a[3] &= keep[1];
      }
#pragma unroll
      for (int n = 0; n < kColTiles; ++n) Mma<Kv>(out_[m][n], a, prob[n][0], prob[n][1]);
    }
  }

  // Bits of a V^T fragment's registers that belong to valid tokens.
  __device__ __forceinline__ void ValueMasks(int valid, uint32_t (&keep)[2]) const {
    const int t = (lane_ & 3) * 2;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if constexpr (Traits::k8Bit) {
        const int v = valid - h * 16;  // bytes: tokens t, t + 8, t + 1, t + 9
        keep[h] = (t < v ? 0xFFu : 0) | (t + 8 < v ? 0xFF00u : 0) | (t + 1 < v ? 0xFF0000u : 0) |
                  (t + 9 < v ? 0xFF000000u : 0);
      } else {
        const int v = valid - h * 8;
        keep[h] = (t < v ? 0xFFFFu : 0) | (t + 1 < v ? 0xFFFF0000u : 0);
      }
    }
  }

  int lane_;
  uint32_t query_[kColTiles][Traits::kKSteps][2];
  float query_scale_[kColTiles][2];
  float max_[kColTiles][2], sum_[kColTiles][2];
  float out_[Traits::kMTiles][kColTiles][4];
};

}  // namespace slipstream::kernels
