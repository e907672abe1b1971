// Helpers of the device tests: skip without a GPU, buffers that free themselves, checked calls.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace slipstream::kernels {

inline bool HasDevice() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return false;
  cudaDeviceProp prop;
  return cudaGetDeviceProperties(&prop, 0) == cudaSuccess && prop.major == 9;
}

#define SLIP_REQUIRE_DEVICE() \
  if (!HasDevice()) GTEST_SKIP() << "no sm_90 device"

#define SLIP_CUDA_OK(call) ASSERT_EQ(call, cudaSuccess)

inline int NumSms() {
  int n = 0;
  cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, 0);
  return n;
}

// Device memory of `bytes`, filled with `fill`.
class DeviceBytes {
 public:
  explicit DeviceBytes(size_t bytes, int fill = 0xFF) : bytes_(bytes) {
    EXPECT_EQ(cudaMalloc(&data_, bytes ? bytes : 1), cudaSuccess);
    EXPECT_EQ(cudaMemset(data_, fill, bytes), cudaSuccess);
  }
  template <typename T>
  explicit DeviceBytes(const std::vector<T>& host) : DeviceBytes(host.size() * sizeof(T)) {
    Upload(host);
  }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  ~DeviceBytes() { cudaFree(data_); }

  template <typename T>
  void Upload(const std::vector<T>& host) {
    ASSERT_LE(host.size() * sizeof(T), bytes_);
    SLIP_CUDA_OK(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  template <typename T>
  std::vector<T> Download() const {
    std::vector<T> host(bytes_ / sizeof(T));
    EXPECT_EQ(cudaMemcpy(host.data(), data_, bytes_, cudaMemcpyDeviceToHost), cudaSuccess);
    return host;
  }
  template <typename T = void>
  T* get() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

}  // namespace slipstream::kernels
