// Activations in the form a product wants: int8 runs of 32 columns, or bf16.
#include "kernels/cpu/kernels.h"

namespace slipstream::kernels::SLIP_ISA {
namespace {

void QuantizeRow(const PreparedRows& p, int64_t row) {
  const float* x = p.x + row * p.x_stride;
  int8_t* q = p.q + row * p.stride;
  float* d = p.d + row * p.runs;
  float* ds = p.ds + row * p.runs;
  int32_t* sums = p.sums + row * p.runs * 2;
  for (int64_t r = 0; r < p.runs; ++r) {
    const F32x16 a = Load(x + 32 * r), b = Load(x + 32 * r + 16);
    const float max = ReduceMax(Max(Abs(a), Abs(b)));
    const float scale = max / 127.0f;
    const F32x16 inverse = Set1(max > 0.0f ? 127.0f / max : 0.0f);
    // The clamp matters for denormal runs alone, where 127 / max overflows.
    const F32x16 lo = Set1(-127.0f), hi = Set1(127.0f);
    sums[2 * r] = StoreI8(q + 32 * r, Max(Min(Mul(a, inverse), hi), lo));
    sums[2 * r + 1] = StoreI8(q + 32 * r + 16, Max(Min(Mul(b, inverse), hi), lo));
    d[r] = scale;
    ds[r] = scale * static_cast<float>(sums[2 * r] + sums[2 * r + 1]);
  }
}

void NarrowRow(const PreparedRows& p, int64_t row) {
  const float* x = p.x + row * p.x_stride;
  uint16_t* out = p.bf16 + row * p.stride;
  const int64_t padded = CeilDiv(p.cols, 32) * 32;
  for (int64_t k = 0; k < padded; k += kLanes) StoreBf16(out + k, LoadN(x + k, p.cols - k));
}

}  // namespace

void Prepare(const PreparedRows& p, Part part) {
  const Range rows = SplitWork(p.rows, part);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    if (p.form == ActForm::kInt8) {
      QuantizeRow(p, r);
    } else if (p.form == ActForm::kBf16) {
      NarrowRow(p, r);
    }
  }
  if (p.form != ActForm::kInt8 || part.index != part.count - 1) return;
  // Rows that only fill up a tile: zero scales, since stale denormals would cost assists.
  const int64_t first = p.rows * p.runs, last = CeilDiv(p.rows, 16) * 16 * p.runs;
  for (int64_t i = first; i < last; ++i) p.d[i] = p.ds[i] = 0.0f;
}

}  // namespace slipstream::kernels::SLIP_ISA
