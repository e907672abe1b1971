#include "runtime/hidden_pool.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "loader/float_bits.h"

namespace slipstream {
namespace {

constexpr int64_t kRowsAtOnce = 64;

template <typename T, typename F>
void Add(const std::byte* bytes, int64_t count, F to_float, double* sum) {
  for (int64_t i = 0; i < count; ++i) {
    T x;
    std::memcpy(&x, bytes + i * sizeof(T), sizeof(T));
    sum[i] += static_cast<double>(to_float(x));
  }
}

Status AddRow(DType dtype, const std::byte* bytes, int64_t count, double* sum) {
  switch (dtype) {
    case DType::kF32:
      Add<float>(
          bytes, count, [](float x) { return x; }, sum);
      return {};
    case DType::kBF16:
      Add<uint16_t>(bytes, count, FloatFromBf16, sum);
      return {};
    case DType::kF16:
      Add<uint16_t>(bytes, count, FloatFromF16, sum);
      return {};
    default:
      return Internal("hidden states of type " + std::string(NameOf(dtype)) + " cannot be pooled");
  }
}

}  // namespace

Status HiddenPool::AddUp(TensorView hidden, int64_t begin, int64_t count,
                         std::vector<double>* sum) {
  sum->assign(static_cast<size_t>(hidden_size_), 0.0);
  const size_t row_bytes = BytesOf(hidden.dtype, static_cast<size_t>(hidden_size_));
  while (count > 0) {
    const int64_t rows = std::min(count, kRowsAtOnce);
    rows_.resize(static_cast<size_t>(rows) * row_bytes);
    SLIP_RETURN_IF_ERROR(backend_.Download(
        rows_.data(), hidden.as<std::byte>() + static_cast<size_t>(begin) * row_bytes,
        rows_.size()));
    for (int64_t i = 0; i < rows; ++i) {
      SLIP_RETURN_IF_ERROR(AddRow(hidden.dtype, rows_.data() + static_cast<size_t>(i) * row_bytes,
                                  hidden_size_, sum->data()));
    }
    begin += rows;
    count -= rows;
  }
  return {};
}

}  // namespace slipstream
