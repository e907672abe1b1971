// Weights of the CPU backend: packed matrices (kernels/api/quantize.h) in arena memory.
// Made by CpuBackend at load, const afterwards, any thread.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/arena.h"
#include "backend/cpu/thread_pool.h"
#include "kernels/api/quantize.h"

namespace slipstream {

// Rows [first_row, first_row + matrix.rows) of a Linear, all of one dtype.
struct LinearSegment {
  kernels::PackedMatrix matrix;
  int64_t first_row = 0;
};

class CpuLinear : public Linear {
 public:
  CpuLinear(std::vector<LinearSegment> segments, std::vector<float> bias,
            std::shared_ptr<Arena> arena);
  int64_t in_features() const override { return segments_.front().matrix.cols; }
  int64_t out_features() const override { return out_features_; }
  std::span<const LinearSegment> segments() const { return segments_; }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }

 private:
  std::vector<LinearSegment> segments_;
  std::vector<float> bias_;
  int64_t out_features_ = 0;
  std::shared_ptr<Arena> arena_;  // keeps the segments' memory
};

class CpuEmbedding : public EmbeddingTable {
 public:
  CpuEmbedding(const kernels::PackedMatrix& matrix, std::shared_ptr<Arena> arena)
      : matrix_(matrix), arena_(std::move(arena)) {}
  const kernels::PackedMatrix& matrix() const { return matrix_; }
  const std::shared_ptr<Arena>& arena() const { return arena_; }

 private:
  kernels::PackedMatrix matrix_;
  std::shared_ptr<Arena> arena_;
};

// Packs parts that share dtype and columns as one matrix, on all workers of `pool`.
Result<kernels::PackedMatrix> PackParts(std::span<const WeightView> parts, Arena& arena,
                                        ThreadPool& pool);

}  // namespace slipstream
