// Device and pinned host memory of the CUDA backend, and CUDA's status codes as errors. Owners free
// what they hold. On the backend's thread, with its device current. Allocation fails with
// kResourceExhausted, anything else with kInternal.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"

namespace slipstream {

inline Status CudaOk(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  const ErrorCode code =
      error == cudaErrorMemoryAllocation ? ErrorCode::kResourceExhausted : ErrorCode::kInternal;
  return Fail(code, std::string(what) + ": " + cudaGetErrorString(error));
}

class DeviceBuffer final : public Buffer {
 public:
  static Result<std::unique_ptr<DeviceBuffer>> Make(size_t bytes, int fill = 0) {
    auto out = std::make_unique<DeviceBuffer>();
    if (bytes == 0) return out;
    if (cudaMalloc(&out->data_, bytes) != cudaSuccess) {
      cudaGetLastError();  // an allocation that failed does not fail later calls
      return Fail(ErrorCode::kResourceExhausted,
                  "out of GPU memory for a buffer of " + std::to_string(bytes) + " bytes");
    }
    out->bytes_ = bytes;
    // Other streams do not wait for this fill, so the host does.
    SLIP_RETURN_IF_ERROR(CudaOk(cudaMemset(out->data_, fill, bytes), "filling GPU memory"));
    SLIP_RETURN_IF_ERROR(CudaOk(cudaStreamSynchronize(nullptr), "filling GPU memory"));
    return out;
  }
  DeviceBuffer() = default;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() override { cudaFree(data_); }

  void* data() override { return data_; }
  size_t bytes() const override { return bytes_; }
  template <typename T>
  T* as(size_t offset_bytes = 0) const {
    return reinterpret_cast<T*>(static_cast<std::byte*>(data_) + offset_bytes);
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Host memory that the copy engines reach.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(PinnedBuffer&& o) noexcept
      : data_(std::exchange(o.data_, nullptr)), bytes_(std::exchange(o.bytes_, 0)) {}
  PinnedBuffer& operator=(PinnedBuffer&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  ~PinnedBuffer() { cudaFreeHost(data_); }

  static Result<PinnedBuffer> Make(size_t bytes) {
    PinnedBuffer out;
    if (cudaMallocHost(&out.data_, bytes) != cudaSuccess) {
      cudaGetLastError();
      return Fail(ErrorCode::kResourceExhausted,
                  "out of pinned host memory for " + std::to_string(bytes) + " bytes");
    }
    out.bytes_ = bytes;
    return out;
  }
  template <typename T>
  T* as(size_t offset_bytes = 0) const {
    return reinterpret_cast<T*>(static_cast<std::byte*>(data_) + offset_bytes);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

template <unsigned kFlags>
class BasicEvent {
 public:
  BasicEvent() { cudaEventCreateWithFlags(&event_, kFlags); }
  BasicEvent(const BasicEvent&) = delete;
  BasicEvent& operator=(const BasicEvent&) = delete;
  ~BasicEvent() { cudaEventDestroy(event_); }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};
using CudaEvent = BasicEvent<cudaEventDisableTiming>;
using TimedEvent = BasicEvent<cudaEventDefault>;

}  // namespace slipstream
