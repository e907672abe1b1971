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
  // The first rows against a panel ask for the next one, so that reading overlaps computing.
  const bool first = row == 0;
  F32x16 acc[R][P];
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < P; ++j) acc[i][j] = Zero();
  }
  for (int64_t k2 = 0; k2 < pair_end; ++k2) {
    F32x16 w0[P], w1[P];
    for (int j = 0; j < P; ++j) {
      if (R > 1 && first) {
        const uint8_t* next = w + (j + P) * p.w->panel_bytes + k2 * W::kPairBytes;
        for (int i = 0; i < W::kPairBytes; i += 64) __builtin_prefetch(next + i, 0, 2);
      }
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

// Accumulators that fit the registers beside the weights: 8 rows by 3 panels of 32 registers. With
// fewer registers one panel, which six rows share.
constexpr bool kManyRegisters = kVectorRegisters >= 32;
constexpr int kRows = kManyRegisters ? 8 : kVectorRegisters >= 8 ? 6 : 2;
constexpr int kPanels = kManyRegisters ? 3 : 1;
// With one row there is one chain per panel: several hide the latency of the FMA.
constexpr int kPanelsOfOneRow = kManyRegisters ? 8 : kVectorRegisters >= 8 ? 4 : 2;

// All rows against P panels: kRows at a time while they last.
template <class W, int P>
void Rows(const GemmParams& p, int64_t panel) {
  int64_t row = 0;
  for (; row + kRows <= p.x.rows; row += kRows) Block<W, kRows, P>(p, panel, row);
  if (kRows > 4 && row + 4 <= p.x.rows) {
    Block<W, 4, P>(p, panel, row);
    row += 4;
  }
  if (kRows > 2 && row + 2 <= p.x.rows) {
    Block<W, 2, P>(p, panel, row);
    row += 2;
  }
  if (row < p.x.rows) Block<W, 1, P>(p, panel, row);
}

template <class W>
void Panels(const GemmParams& p, Range panels) {
  int64_t panel = panels.begin;
  if (p.x.rows == 1) {
    for (; panel + kPanelsOfOneRow <= panels.end; panel += kPanelsOfOneRow) {
      Block<W, 1, kPanelsOfOneRow>(p, panel, 0);
    }
  }
  for (; panel + kPanels <= panels.end; panel += kPanels) Rows<W, kPanels>(p, panel);
  if constexpr (kPanels > 1) {
    for (; panel < panels.end; ++panel) Rows<W, 1>(p, panel);
  }
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
