// Views of contiguous memory with a dtype and a shape. A view owns nothing; whoever made the
// memory (Buffer, mapped file) must outlive it. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

#include "base/file_range.h"
#include "kernels/api/types.h"

namespace slipstream {

// Up to four dimensions, outermost first.
struct Shape {
  std::array<int64_t, 4> dims{};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<int64_t> d) {
    for (const int64_t x : d) dims[rank++] = x;
  }
  int64_t operator[](int i) const { return dims[i]; }
  int64_t elems() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  bool operator==(const Shape&) const = default;
};

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t dim(int i) const { return shape[i]; }
};

// Weight bytes as they lie in a checkpoint: [rows, cols], row-major, quantized along cols.
// REQUIRES for quantized types: cols is a multiple of the block.
struct WeightView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 1;
  FileRange file;  // the same bytes, where they can also be read from; for devices

  size_t bytes() const { return BytesOf(dtype, static_cast<size_t>(rows * cols)); }
};

}  // namespace slipstream
