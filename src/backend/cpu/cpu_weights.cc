#include "backend/cpu/cpu_weights.h"

#include <algorithm>
#include <string>

namespace slipstream {

using kernels::KernelStatus;
using kernels::PackedMatrix;
using kernels::Part;

CpuLinear::CpuLinear(std::vector<LinearSegment> segments, std::vector<float> bias,
                     std::shared_ptr<Arena> arena)
    : segments_(std::move(segments)), bias_(std::move(bias)), arena_(std::move(arena)) {
  for (const LinearSegment& s : segments_) out_features_ += s.matrix.rows;
}

Result<PackedMatrix> PackParts(std::span<const WeightView> parts, Arena& arena, ThreadPool& pool) {
  int64_t rows = 0;
  for (const WeightView& part : parts) rows += part.rows;
  const WeightView& first = parts.front();
  PackedMatrix m;
  const KernelStatus status = kernels::PackedLayout(first.dtype, rows, first.cols, &m);
  if (status == KernelStatus::kUnsupported) {
    return Fail(ErrorCode::kUnimplemented,
                std::string("the CPU backend has no weights of type ") + NameOf(first.dtype));
  }
  if (status != KernelStatus::kOk) {
    return InvalidArgument("a weight of " + std::to_string(rows) + " x " +
                           std::to_string(first.cols) + " cannot be of type " +
                           NameOf(first.dtype));
  }
  uint8_t* data = arena.Allocate(m.bytes());
  if (data == nullptr) {
    return Fail(ErrorCode::kResourceExhausted,
                "out of memory for a weight of " + std::to_string(m.bytes()) + " bytes");
  }
  const size_t row_bytes = BytesOf(m.dtype, static_cast<size_t>(m.cols));
  pool.Run([&](Part worker) {
    // Whole panels per worker, whatever parts their rows come from.
    const kernels::Range mine = kernels::SplitRange(rows, worker, 16);
    int64_t part_begin = 0;
    for (const WeightView& part : parts) {
      const int64_t begin = std::max(mine.begin, part_begin);
      const int64_t end = std::min(mine.end, part_begin + part.rows);
      if (begin < end) {
        kernels::PackRows(m, data, begin, end - begin,
                          static_cast<const uint8_t*>(part.data) +
                              static_cast<size_t>(begin - part_begin) * row_bytes);
      }
      part_begin += part.rows;
    }
  });
  m.data = data;
  return m;
}

}  // namespace slipstream
