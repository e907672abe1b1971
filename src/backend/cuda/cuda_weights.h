// Weights on the device: row-major [N, K] in the activation dtype, whatever the checkpoint's was,
// and the way they get there. Made at load on the backend's thread; const afterwards.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/cuda_memory.h"
#include "kernels/cuda/gemm/gemm_stream.h"

namespace slipstream {

class CudaLinear final : public Linear {
 public:
  int64_t in_features() const override { return stream.k; }
  int64_t out_features() const override { return stream.n; }

  std::shared_ptr<DeviceBuffer> memory;  // shared by a tied embedding
  std::unique_ptr<DeviceBuffer> bias;    // [N] f32, or null
  kernels::GemmStreamWeights stream;
  // Of MakeGatedLinear, rows in the order of kernels::GemmGateRow; else one part after the other.
  bool interleaved = false;
};

class CudaEmbedding final : public EmbeddingTable {
 public:
  std::shared_ptr<DeviceBuffer> memory;
  int64_t vocab_size = 0;
  int64_t hidden = 0;
};

// Copies matrices to the device through a ring of pinned buffers, several threads converting. Host
// memory in use is the ring alone, however large the model.
class WeightUploader {
 public:
  explicit WeightUploader(DType dtype) : dtype_(dtype) {}
  // Writes `view` in the target dtype to `dst`; returns when all of it is there. With `run` rows in
  // a row, then a gap of as many, if `run` is not 0. REQUIRES: run divides view.rows.
  Status Upload(const WeightView& view, void* dst, int64_t run = 0);

 private:
  struct Lane {
    PinnedBuffer staging;
    cudaStream_t stream = nullptr;
    ~Lane();
  };
  Status Prepare();

  DType dtype_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace slipstream
