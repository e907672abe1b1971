#include "backend/cuda/cuda_weights.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>

#include "kernels/api/quantize.h"

namespace slipstream {
namespace {

// Large enough for full PCIe speed, small enough that all lanes together stay under 128 MiB.
constexpr size_t kStagingBytes = size_t{8} << 20;
constexpr unsigned kMaxLanes = 8;

// Converts whole rows; `scratch` holds the floats of one row.
kernels::KernelStatus ConvertRows(const WeightView& view, int64_t first, int64_t count, DType dtype,
                                  std::vector<float>& scratch, uint16_t* out) {
  const auto* src = static_cast<const std::byte*>(view.data);
  const size_t row_bytes = BytesOf(view.dtype, static_cast<size_t>(view.cols));
  scratch.resize(static_cast<size_t>(view.cols));
  for (int64_t r = 0; r < count; ++r) {
    const auto status = kernels::reference::Dequantize(
        view.dtype, src + static_cast<size_t>(first + r) * row_bytes, view.cols, scratch.data());
    if (status != kernels::KernelStatus::kOk) return status;
    uint16_t* row = out + r * view.cols;
    for (int64_t i = 0; i < view.cols; ++i) {
      row[i] = dtype == DType::kBF16 ? __bfloat16_as_ushort(__float2bfloat16_rn(scratch[i]))
                                     : __half_as_ushort(__float2half_rn(scratch[i]));
    }
  }
  return kernels::KernelStatus::kOk;
}

// Bytes of a view that need no conversion. Reading a file is quicker than touching its mapping.
Status CopyPiece(const WeightView& view, size_t skip, std::byte* out, size_t bytes) {
  if (view.file) return ReadAt(view.file, static_cast<int64_t>(skip), out, bytes);
  std::memcpy(out, static_cast<const std::byte*>(view.data) + skip, bytes);
  return {};
}

}  // namespace

WeightUploader::Lane::~Lane() {
  if (stream != nullptr) cudaStreamDestroy(stream);
}

Status WeightUploader::Prepare() {
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  while (lanes_.size() < std::min(cores, kMaxLanes)) {
    auto lane = std::make_unique<Lane>();
    SLIP_ASSIGN_OR_RETURN(lane->staging, PinnedBuffer::Make(kStagingBytes));
    SLIP_RETURN_IF_ERROR(CudaOk(cudaStreamCreateWithFlags(&lane->stream, cudaStreamNonBlocking),
                                "cudaStreamCreate"));
    lanes_.push_back(std::move(lane));
  }
  return {};
}

Status WeightUploader::Upload(const WeightView& view, void* dst, int64_t run) {
  SLIP_RETURN_IF_ERROR(Prepare());
  const size_t out_row = BytesOf(dtype_, static_cast<size_t>(view.cols));
  int64_t rows_per_piece = static_cast<int64_t>(kStagingBytes / out_row);
  if (run > 0) rows_per_piece = rows_per_piece / run * run;
  if (rows_per_piece < 1) {
    return Fail(ErrorCode::kUnimplemented,
                "weight rows of " + std::to_string(view.cols) + " columns are too long");
  }
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  Status failure;  // of the thread that was first to set `failed`; read when all have ended
  const auto fail = [&](Status status) {
    if (!failed.exchange(true)) failure = std::move(status);
  };
  int device = 0;
  cudaGetDevice(&device);
  const auto work = [&](Lane& lane) {
    cudaSetDevice(device);
    std::vector<float> scratch;
    while (!failed) {
      const int64_t first = next.fetch_add(rows_per_piece);
      if (first >= view.rows) return;
      const int64_t count = std::min(rows_per_piece, view.rows - first);
      const size_t bytes = static_cast<size_t>(count) * out_row;
      if (view.dtype == dtype_) {
        const size_t skip = static_cast<size_t>(first) * out_row;
        if (Status got = CopyPiece(view, skip, lane.staging.as<std::byte>(), bytes); !got) {
          return fail(std::move(got));
        }
      } else if (ConvertRows(view, first, count, dtype_, scratch, lane.staging.as<uint16_t>()) !=
                 kernels::KernelStatus::kOk) {
        return fail(Fail(ErrorCode::kUnimplemented,
                         std::string("weights of type ") + NameOf(view.dtype) + " cannot be read"));
      }
      const size_t width = run > 0 ? static_cast<size_t>(run) * out_row : bytes;
      const size_t at = static_cast<size_t>(first) * out_row * (run > 0 ? 2 : 1);
      cudaError_t error = cudaMemcpy2DAsync(static_cast<std::byte*>(dst) + at, 2 * width,
                                            lane.staging.as<std::byte>(), width, width,
                                            bytes / width, cudaMemcpyHostToDevice, lane.stream);
      if (error == cudaSuccess) error = cudaStreamSynchronize(lane.stream);
      if (error != cudaSuccess) return fail(CudaOk(error, "copying weights to the GPU"));
    }
  };
  const int64_t pieces = (view.rows + rows_per_piece - 1) / rows_per_piece;
  const size_t used = std::min<size_t>(lanes_.size(), static_cast<size_t>(pieces));
  std::vector<std::thread> threads;
  for (size_t i = 1; i < used; ++i) threads.emplace_back(work, std::ref(*lanes_[i]));
  if (used > 0) work(*lanes_[0]);
  for (std::thread& thread : threads) thread.join();
  return failure;
}

}  // namespace slipstream
