// Matrix product y = x W^T + bias on the CPU, W packed (quantize.h). Stateless, any thread; callers
// give each worker its Part and wait for all of them. No allocation, nothing fails.
//
// Promise: a row's result depends on that row of x and on W alone, bit for bit: not on M, on the
// row's place, or on the number of workers. Each output is accumulated over K in one order.
// Quantized weights: x is quantized to int8 in runs of 32 columns (d = max|x| / 127), products are
// exact int32 sums per run, and runs are added in order in float32. F32 and F16: float32 FMA over
// K in order. BF16: as F32, or where the instruction set has it, x rounded to bf16 and tile
// products in runs of 32 columns.
#pragma once

#include <cstdint>

#include "kernels/api/quantize.h"
#include "kernels/api/types.h"

namespace slipstream::kernels {

// The form of the activations that a weight dtype wants on an instruction set.
enum class ActForm : uint8_t { kF32, kInt8, kBf16 };

// Activations prepared once per product. Row buffers hold rows rounded up to 16; the padding rows
// are read but their results are dropped.
struct PreparedRows {
  int64_t rows = 0;  // M
  int64_t cols = 0;  // K
  ActForm form = ActForm::kF32;
  const float* x = nullptr;  // [M, K], the source
  int64_t x_stride = 0;
  int8_t* q = nullptr;       // kInt8: [M16, stride] int8
  uint16_t* bf16 = nullptr;  // kBf16: [M16, stride] bf16, zero from K to the next multiple of 32
  int64_t stride = 0;        // elements per row of q or bf16
  int64_t runs = 0;          // kInt8: K / 32
  float* d = nullptr;        // kInt8: [M16, runs] scale of each run
  float* ds = nullptr;       // kInt8: [M16, runs] scale * sum of the run's int8
  int32_t* sums = nullptr;   // kInt8: [M16, runs, 2] sums of each 16 columns
};

// Bytes of workspace that BindPrepared lays its buffers out in.
size_t PreparedBytes(ActForm form, int64_t rows, int64_t cols);
// Points the buffers of a PreparedRows into `workspace` (64-byte aligned).
PreparedRows BindPrepared(ActForm form, const float* x, int64_t x_stride, int64_t rows,
                          int64_t cols, void* workspace);

struct GemmParams {
  const PackedMatrix* w = nullptr;
  PreparedRows x;
  float* y = nullptr;  // [M, w->rows]
  int64_t y_stride = 0;
  const float* bias = nullptr;  // [w->rows] or null
  void* scratch = nullptr;      // count * GemmScratchBytes, 64-byte aligned, a slice per worker
};

// Room for one panel unpacked to bytes.
size_t GemmScratchBytes(const PackedMatrix& w);

namespace reference {
// y[m, n] = sum over k of x[m, k] * w[n, k] + bias[n], in double.
void MatMul(const float* x, const float* w, const float* bias, int64_t m, int64_t n, int64_t k,
            float* y);
}  // namespace reference

}  // namespace slipstream::kernels
