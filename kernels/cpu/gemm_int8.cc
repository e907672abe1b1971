// Quantized weights times int8 activations, up to 8 rows at a time per panel of 16 outputs.
// Order per output: int32 sum of a run of 32 columns (exact), then one float32 FMA per run, runs in
// order; the tile kernel of gemm_amx.cc ends each run with the same operations.
#include "kernels/cpu/formats.h"
#include "kernels/cpu/int8_epilogue.h"
#include "kernels/cpu/kernels.h"

namespace slipstream::kernels::SLIP_ISA {
namespace {

template <class F, int G>
SLIP_INLINE I32x16 DotGroups(I32x16 acc, const U8x64* w, const int8_t* a) {
  if constexpr (F::kSigned) {
    for (int g = 0; g < G; ++g) acc = DotS8(acc, w[g], a + 4 * g);
    return acc;
  } else {
    return DotGroupsU8<F::kMax, G>(acc, w, a);
  }
}

// Sum over a run of w * a with true signed weights.
template <class F>
SLIP_INLINE I32x16 RunSum(const PanelView& panel, int64_t r, const U8x64* w, const int8_t* a,
                          const int32_t* sums) {
  if constexpr (F::kHalves) {
    const I32x16 low = DotGroups<F, 4>(SetI32(-F::kOffset * sums[0]), w, a);
    const I32x16 high = DotGroups<F, 4>(SetI32(-F::kOffset * sums[1]), w + 4, a + 16);
    return AddI32(MulI32(low, F::HalfScale(panel, r, 0)), MulI32(high, F::HalfScale(panel, r, 1)));
  } else {
    constexpr int kBias = F::kSigned ? kSignedBias : F::kOffset;
    return DotGroups<F, 8>(SetI32(kBias == 0 ? 0 : -kBias * (sums[0] + sums[1])), w, a);
  }
}

template <class F, int R>
void PanelRows(const GemmParams& p, int64_t panel_index, int64_t row) {
  const PanelView panel = PanelOf(*p.w, panel_index);
  const PreparedRows& x = p.x;
  F32x16 y[R];
  for (int i = 0; i < R; ++i) y[i] = Zero();
  // With one row a panel is read once and barely computed on: the hardware prefetchers stop at page
  // ends and see two short streams, so the bytes kAhead further on are asked for here.
  constexpr int64_t kAhead = 1024;
  const uint8_t* ahead = panel.quants + kAhead;
  const int64_t step = p.w->panel_bytes / x.runs + 1;
  for (int64_t r = 0; r < x.runs; ++r) {
    if constexpr (R == 1) {
      for (int64_t i = 0; i < step; i += 64) __builtin_prefetch(ahead + i);
      ahead += step;
    }
    U8x64 w[8];
    F::Unpack(panel.quants + r * F::kQuants, w);
    const F32x16 scale = F::Scale(panel, r);
    const F32x16 min = F::Min(panel, r);
    for (int i = 0; i < R; ++i) {
      const int64_t at = (row + i) * x.runs + r;
      const int8_t* a = x.q + (row + i) * x.stride + 32 * r;
      y[i] = EndRun<F>(RunSum<F>(panel, r, w, a, x.sums + 2 * at), scale, min, x.d[at], x.ds[at],
                       y[i]);
    }
  }
  for (int i = 0; i < R; ++i) StoreOutput(p, panel_index, row + i, y[i]);
}

template <class F>
void Panels(const GemmParams& p, Range panels, uint8_t* scratch) {
  for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
    int64_t row = 0;
#ifdef __AMX_INT8__
    row = GemmInt8Tiles(p, panel, scratch);
#endif
    for (; row + 8 <= p.x.rows; row += 8) PanelRows<F, 8>(p, panel, row);
    if (row + 4 <= p.x.rows) {
      PanelRows<F, 4>(p, panel, row);
      row += 4;
    }
    if (row + 2 <= p.x.rows) {
      PanelRows<F, 2>(p, panel, row);
      row += 2;
    }
    if (row < p.x.rows) PanelRows<F, 1>(p, panel, row);
  }
}

}  // namespace

void GemmInt8(const GemmParams& p, Range panels, uint8_t* scratch) {
  switch (p.w->dtype) {
    case DType::kQ8_0:
      return Panels<FormatQ8_0>(p, panels, scratch);
    case DType::kQ4_0:
      return Panels<FormatQ4_0>(p, panels, scratch);
    case DType::kQ4_1:
      return Panels<FormatQ4_1>(p, panels, scratch);
    case DType::kQ5_0:
      return Panels<FormatQ5_0>(p, panels, scratch);
    case DType::kQ5_1:
      return Panels<FormatQ5_1>(p, panels, scratch);
    case DType::kQ4_K:
      return Panels<FormatQ4_K>(p, panels, scratch);
    case DType::kQ5_K:
      return Panels<FormatQ5_K>(p, panels, scratch);
    case DType::kQ6_K:
      return Panels<FormatQ6_K>(p, panels, scratch);
    default:
      return;
  }
}

}  // namespace slipstream::kernels::SLIP_ISA
