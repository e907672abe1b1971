// The float32 end of an integer run and of an output vector, shared by the row and tile kernels so
// that both round in the same places.
#pragma once

#include "kernels/api/gemm.h"
#include "kernels/cpu/simd.h"

namespace slipstream::kernels::SLIP_ISA {

// y + sum * (scale * d) + min * ds, in this order.
template <class F>
SLIP_INLINE F32x16 EndRun(F32x16 sum, F32x16 scale, F32x16 min, float d, float ds, F32x16 y) {
  y = Fma(sum, Mul(scale, Set1(d)), y);
  if constexpr (F::kHasMin) y = Fma(min, Set1(ds), y);
  return y;
}
template <class F>
SLIP_INLINE F32x16 EndRun(I32x16 sum, F32x16 scale, F32x16 min, float d, float ds, F32x16 y) {
  return EndRun<F>(ToF32(sum), scale, min, d, ds, y);
}

// Adds the bias and stores the lanes of a panel that are real outputs.
SLIP_INLINE void StoreOutput(const GemmParams& p, int64_t panel, int64_t row, F32x16 y) {
  const int64_t col = panel * kLanes;
  float* out = p.y + row * p.y_stride + col;
  if (col + kLanes <= p.w->rows) {
    if (p.bias != nullptr) y = Add(y, Load(p.bias + col));
    Store(out, y);
    return;
  }
  const int64_t left = p.w->rows - col;
  if (p.bias != nullptr) y = Add(y, LoadN(p.bias + col, left));
  StoreN(out, y, left);
}

}  // namespace slipstream::kernels::SLIP_ISA
