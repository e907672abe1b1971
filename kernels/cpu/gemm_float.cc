// F32, F16 and (without tiles) BF16 weights times f32 activations. Order per output: one FMA per
// column, in order, whatever the blocking.
#include "kernels/cpu/int8_epilogue.h"
#include "kernels/cpu/kernels.h"

namespace slipstream::kernels::SLIP_ISA {
namespace {

// Column pairs [k, k + 1] of one panel as two vectors.
struct ReadF32 {
  static constexpr int kPairBytes = 128;
  SLIP_INLINE void Pair(const uint8_t* at, F32x16* a, F32x16* b) {
    *a = Load(reinterpret_cast<const float*>(at));
    *b = Load(reinterpret_cast<const float*>(at) + kLanes);
  }
  SLIP_INLINE F32x16 Last(const uint8_t* at) { return Load(reinterpret_cast<const float*>(at)); }
};
struct ReadF16 {
  static constexpr int kPairBytes = 64;
  SLIP_INLINE void Pair(const uint8_t* at, F32x16* a, F32x16* b) {
    *a = LoadF16(at);
    *b = LoadF16(at + 32);
  }
  SLIP_INLINE F32x16 Last(const uint8_t* at) { return LoadF16(at); }
};
struct ReadBf16 {
  static constexpr int kPairBytes = 64;
  SLIP_INLINE void Pair(const uint8_t* at, F32x16* a, F32x16* b) { LoadBf16Pairs(at, a, b); }
  SLIP_INLINE F32x16 Last(const uint8_t* at) {
    F32x16 a, b;
    LoadBf16Pairs(at, &a, &b);
    return a;
  }
};

// R rows times P panels, accumulators in registers.
template <class W, int R, int P>
void Block(const GemmParams& p, int64_t panel, int64_t row) {
  const int64_t k_end = p.w->cols, pair_end = k_end / 2;
  const uint8_t* w = p.w->data + panel * p.w->panel_bytes;
  const float* x = p.x.x + row * p.x.x_stride;
  F32x16 acc[R][P];
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < P; ++j) acc[i][j] = Zero();
  }
  for (int64_t k2 = 0; k2 < pair_end; ++k2) {
    F32x16 w0[P], w1[P];
    for (int j = 0; j < P; ++j) {
      W::Pair(w + j * p.w->panel_bytes + k2 * W::kPairBytes, &w0[j], &w1[j]);
    }
    for (int i = 0; i < R; ++i) {
      const F32x16 a = Set1(x[i * p.x.x_stride + 2 * k2]);
      for (int j = 0; j < P; ++j) acc[i][j] = Fma(w0[j], a, acc[i][j]);
    }
    for (int i = 0; i < R; ++i) {
      const F32x16 a = Set1(x[i * p.x.x_stride + 2 * k2 + 1]);
      for (int j = 0; j < P; ++j) acc[i][j] = Fma(w1[j], a, acc[i][j]);
    }
  }
  if (k_end % 2 != 0) {
    for (int j = 0; j < P; ++j) {
      const F32x16 w0 = W::Last(w + j * p.w->panel_bytes + pair_end * W::kPairBytes);
      for (int i = 0; i < R; ++i) {
        acc[i][j] = Fma(w0, Set1(x[i * p.x.x_stride + k_end - 1]), acc[i][j]);
      }
    }
  }
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < P; ++j) StoreOutput(p, panel + j, row + i, acc[i][j]);
  }
}

// All rows against P panels: eight at a time while they last.
template <class W, int P>
void Rows(const GemmParams& p, int64_t panel) {
  int64_t row = 0;
  for (; row + 8 <= p.x.rows; row += 8) Block<W, 8, P>(p, panel, row);
  if (row + 4 <= p.x.rows) {
    Block<W, 4, P>(p, panel, row);
    row += 4;
  }
  if (row + 2 <= p.x.rows) {
    Block<W, 2, P>(p, panel, row);
    row += 2;
  }
  if (row < p.x.rows) Block<W, 1, P>(p, panel, row);
}

template <class W>
void Panels(const GemmParams& p, Range panels) {
  int64_t panel = panels.begin;
  if (p.x.rows == 1) {  // one chain per panel: eight hide the latency of the FMA
    for (; panel + 8 <= panels.end; panel += 8) Block<W, 1, 8>(p, panel, 0);
  }
  for (; panel + 3 <= panels.end; panel += 3) Rows<W, 3>(p, panel);
  for (; panel < panels.end; ++panel) Rows<W, 1>(p, panel);
}

}  // namespace

void GemmFloat(const GemmParams& p, Range panels) {
  switch (p.w->dtype) {
    case DType::kF32:
      return Panels<ReadF32>(p, panels);
    case DType::kF16:
      return Panels<ReadF16>(p, panels);
    case DType::kBF16:
      return Panels<ReadBf16>(p, panels);
    default:
      return;
  }
}

}  // namespace slipstream::kernels::SLIP_ISA
