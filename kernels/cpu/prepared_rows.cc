#include "kernels/api/gemm.h"

namespace slipstream::kernels {
namespace {

size_t Round64(size_t n) { return (n + 63) / 64 * 64; }

struct Sizes {
  int64_t rows16, stride, runs;
  size_t values, scales, sums;
};

Sizes SizesOf(ActForm form, int64_t rows, int64_t cols) {
  Sizes s{};
  s.rows16 = (rows + 15) / 16 * 16;
  if (form == ActForm::kInt8) {
    s.runs = cols / 32;
    // An odd number of cache lines per row keeps 16 rows of one column out of one cache set.
    s.stride = static_cast<int64_t>(Round64(static_cast<size_t>(cols)));
    if (s.stride / 64 % 2 == 0) s.stride += 64;
    s.values = static_cast<size_t>(s.rows16 * s.stride);
    s.scales = Round64(static_cast<size_t>(s.rows16 * s.runs) * sizeof(float));
    s.sums = Round64(static_cast<size_t>(s.rows16 * s.runs) * 2 * sizeof(int32_t));
  } else if (form == ActForm::kBf16) {
    s.stride = static_cast<int64_t>(Round64(static_cast<size_t>(cols) * 2)) / 2;
    if (s.stride / 32 % 2 == 0) s.stride += 32;
    s.values = static_cast<size_t>(s.rows16 * s.stride) * 2;
  }
  return s;
}

}  // namespace

size_t GemmScratchBytes(const PackedMatrix& w) {
  return IsQuantized(w.dtype) ? static_cast<size_t>(w.cols) * 16 : 0;
}

size_t PreparedBytes(ActForm form, int64_t rows, int64_t cols) {
  const Sizes s = SizesOf(form, rows, cols);
  return s.values + 2 * s.scales + s.sums;
}

PreparedRows BindPrepared(ActForm form, const float* x, int64_t x_stride, int64_t rows,
                          int64_t cols, void* workspace) {
  const Sizes s = SizesOf(form, rows, cols);
  auto* at = static_cast<uint8_t*>(workspace);
  PreparedRows p;
  p.rows = rows;
  p.cols = cols;
  p.form = form;
  p.x = x;
  p.x_stride = x_stride;
  p.stride = s.stride;
  p.runs = s.runs;
  if (form == ActForm::kInt8) {
    p.q = reinterpret_cast<int8_t*>(at);
    p.d = reinterpret_cast<float*>(at + s.values);
    p.ds = reinterpret_cast<float*>(at + s.values + s.scales);
    p.sums = reinterpret_cast<int32_t*>(at + s.values + 2 * s.scales);
  } else if (form == ActForm::kBf16) {
    p.bf16 = reinterpret_cast<uint16_t*>(at);
  }
  return p;
}

}  // namespace slipstream::kernels
