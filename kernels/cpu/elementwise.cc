// RMS norm, gated activations, soft cap, add.
#include "kernels/cpu/kernels.h"

namespace slipstream::kernels::SLIP_ISA {

void RmsNorm(const RmsNormParams& p, Part part) {
  const Range rows = SplitWork(p.rows, part);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = p.x + r * p.cols;
    float* out = p.out + r * p.cols;
    F32x16 squares = Zero();
    if (p.residual != nullptr) {
      float* residual = p.residual + r * p.cols;
      for (int64_t i = 0; i < p.cols; i += kLanes) {
        const F32x16 v = Add(LoadN(residual + i, p.cols - i), LoadN(x + i, p.cols - i));
        StoreN(residual + i, v, p.cols - i);
        squares = Fma(v, v, squares);
      }
      x = residual;
    } else {
      for (int64_t i = 0; i < p.cols; i += kLanes) {
        const F32x16 v = LoadN(x + i, p.cols - i);
        squares = Fma(v, v, squares);
      }
    }
    const float mean = ReduceAdd(squares) / static_cast<float>(p.cols);
    const F32x16 scale = Set1(1.0f / __builtin_sqrtf(mean + p.eps));
    for (int64_t i = 0; i < p.cols; i += kLanes) {
      const F32x16 v = Mul(LoadN(x + i, p.cols - i), scale);
      StoreN(out + i, Mul(v, LoadN(p.weight + i, p.cols - i)), p.cols - i);
    }
  }
}

namespace {

SLIP_INLINE F32x16 Silu(F32x16 x) { return Div(x, Add(Set1(1.0f), Exp(Sub(Zero(), x)))); }

SLIP_INLINE F32x16 GeluTanh(F32x16 x) {
  const F32x16 cubic = Fma(Mul(Mul(x, x), x), Set1(0.044715f), x);
  const F32x16 t = Tanh(Mul(cubic, Set1(0.7978845608028654f)));
  return Mul(Mul(x, Set1(0.5f)), Add(t, Set1(1.0f)));
}

}  // namespace

void GatedActivation(const GatedActivationParams& p, Part part) {
  // Work is split in vectors, so that one row of a decode step is shared too.
  const int64_t per_row = CeilDiv(p.cols, kLanes);
  const Range work = SplitWork(p.rows * per_row, part);
  for (int64_t at = work.begin; at < work.end;) {
    const int64_t row = at / per_row;
    const int64_t end = MinOf(work.end, (row + 1) * per_row);
    const float* gate = p.gate_up + row * 2 * p.cols;
    float* out = p.out + row * p.cols;
    for (; at < end; ++at) {
      const int64_t i = (at - row * per_row) * kLanes, left = p.cols - i;
      const F32x16 g = LoadN(gate + i, left), u = LoadN(gate + p.cols + i, left);
      StoreN(out + i, Mul(p.gelu_tanh ? GeluTanh(g) : Silu(g), u), left);
    }
  }
}

void SoftCap(const SoftCapParams& p, Part part) {
  const Range work = SplitWork(CeilDiv(p.elems, kLanes), part);
  const F32x16 cap = Set1(p.cap), inverse = Set1(1.0f / p.cap);
  for (int64_t v = work.begin; v < work.end; ++v) {
    const int64_t i = v * kLanes, left = p.elems - i;
    StoreN(p.x + i, Mul(cap, Tanh(Mul(LoadN(p.x + i, left), inverse))), left);
  }
}

void AddInPlace(const AddParams& p, Part part) {
  const Range work = SplitWork(CeilDiv(p.elems, kLanes), part);
  for (int64_t v = work.begin; v < work.end; ++v) {
    const int64_t i = v * kLanes, left = p.elems - i;
    StoreN(p.x + i, Add(LoadN(p.x + i, left), LoadN(p.y + i, left)), left);
  }
}

}  // namespace slipstream::kernels::SLIP_ISA
