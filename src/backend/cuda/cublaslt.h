// cuBLASLt behind one call, y = x W^T (+ bias) (+ y), for products with many tokens. The library is
// 542 MB and lives with CUDA, not with us: it is loaded at first use (the loader's path, CUDA's
// lib64, then the Python packages of the interpreters on PATH) and nothing links to it.
//
// Owner: the rank that made it; the workspace stays the caller's. Thread: one at a time. Calls are
// asynchronous on `stream` and may be captured, but for Tune. Fails with kUnavailable where the
// library is missing or does not start, kUnimplemented where it has no algorithm for a product,
// kInternal if a launch fails.
//
// Source: cuBLAS 13 documentation, cublasLtMatmul.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "kernels/api/types.h"

namespace slipstream {

struct MatMulArgs {
  const void* x = nullptr;      // [m, k] in `dtype`
  const void* w = nullptr;      // [n, k] in `dtype`
  void* y = nullptr;            // [m, n] in y_dtype
  const float* bias = nullptr;  // [n] or null; rounded to y_dtype, then added to the f32 sum
  int64_t m = 0, n = 0, k = 0;
  DType dtype = DType::kBF16;    // kBF16 or kF16
  DType y_dtype = DType::kBF16;  // `dtype` or kF32
  bool accumulate = false;       // add to what y holds
  // Elements between rows; 0: rows follow each other.
  int64_t x_stride = 0, w_stride = 0, y_stride = 0;
};

class CublasLt {
 public:
  // Loads the library and starts it on the current device. `workspace`: device memory, 256-byte
  // aligned, that one product at a time uses; 1 MiB of it holds a bias (n <= 524,288), the library
  // makes good use of 32 MiB more.
  static Result<std::unique_ptr<CublasLt>> Make(void* workspace, size_t workspace_bytes);
  ~CublasLt();

  // The algorithm is the library's first choice, or Tune's, and is kept per (range of m, n, k,
  // dtypes, bias, accumulate, strides). REQUIRES: x, w, y 16-byte aligned.
  Status MatMul(const MatMulArgs& args, cudaStream_t stream);

  // Times the library's best `candidates` for such products and keeps the fastest. `weights`:
  // copies of W to take in turn, so that it comes from memory as in a step and not from L2; may be
  // empty. Writes y; waits for the stream. For start-up, outside any capture.
  Status Tune(const MatMulArgs& args, std::span<const void* const> weights, cudaStream_t stream,
              int candidates = 8);

 private:
  class Impl;
  explicit CublasLt(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipstream
