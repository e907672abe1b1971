// What the attention benchmark needs around a kernel: cold-L2 rotation over layers, a CUDA graph of
// all layers, medians of event timings, random data. Host-side program code: any CUDA error ends
// the program with a message.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace slipstream::bench {

#define SLIP_CUDA(call)                                                    \
  do {                                                                     \
    const cudaError_t error_ = (call);                                     \
    if (error_ != cudaSuccess) {                                           \
      std::fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(error_)); \
      std::exit(1);                                                        \
    }                                                                      \
  } while (0)

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n) : size_(n) { SLIP_CUDA(cudaMalloc(&data_, n * sizeof(T) + 16)); }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) { Upload(host); }
  DeviceArray(DeviceArray&& o) noexcept : data_(o.data_), size_(o.size_) { o.data_ = nullptr; }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  void Upload(const std::vector<T>& host) {
    SLIP_CUDA(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  T* get() const { return data_; }
  size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  size_t size_;
};

__device__ __forceinline__ uint32_t Hash(uint32_t x) {
  x = (x ^ 61) ^ (x >> 16);
  x *= 9;
  x ^= x >> 4;
  x *= 0x27d4eb2d;
  return x ^ (x >> 15);
}

// Random numbers of about unit size: the bit patterns of bf16 (or fp16, or e4m3) with random signs,
// mantissas and small exponents.
enum class Pattern { kBF16, kF16, kE4M3 };
__global__ void FillKernel(uint32_t* x, size_t n, Pattern pattern, uint32_t seed) {
  const size_t stride = size_t(gridDim.x) * blockDim.x;
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < n; i += stride) {
    const uint32_t r = Hash(uint32_t(i) * 2654435761u + seed), e = Hash(r);
    if (pattern == Pattern::kBF16) {
      const uint32_t lo = (r & 0x807F) | (125 + (e & 1)) << 7;
      const uint32_t hi = (r >> 16 & 0x807F) | (125 + (e >> 1 & 1)) << 7;
      x[i] = lo | hi << 16;
    } else if (pattern == Pattern::kF16) {
      const uint32_t lo = (r & 0x83FF) | (13 + (e & 1)) << 10;
      const uint32_t hi = (r >> 16 & 0x83FF) | (13 + (e >> 1 & 1)) << 10;
      x[i] = lo | hi << 16;
    } else {
      x[i] = (r & 0x87878787) | 0x28282828;
    }
  }
}

inline void Fill(void* data, size_t bytes, Pattern pattern, uint32_t seed) {
  FillKernel<<<1056, 256>>>(static_cast<uint32_t*>(data), bytes / 4, pattern, seed);
  SLIP_CUDA(cudaGetLastError());
}

struct Timing {
  double median_us;  // per call
  double best_us;
};

// Captures `record` (which issues `calls` calls) and replays it.
inline Timing TimeGraph(int calls, const std::function<void(cudaStream_t)>& record,
                        int repeats = 9) {
  cudaStream_t stream;
  SLIP_CUDA(cudaStreamCreate(&stream));
  record(stream);  // loads modules and opts into shared memory outside the capture
  SLIP_CUDA(cudaStreamSynchronize(stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  SLIP_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  record(stream);
  SLIP_CUDA(cudaStreamEndCapture(stream, &graph));
  SLIP_CUDA(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t begin, end;
  SLIP_CUDA(cudaEventCreate(&begin));
  SLIP_CUDA(cudaEventCreate(&end));
  std::vector<double> us;
  // Warm up for a fixed time, not a fixed count: the first milliseconds after an idle spell or a
  // fill are slower on some shapes.
  double warm_up_ms = 30;
  while (static_cast<int>(us.size()) < repeats) {
    SLIP_CUDA(cudaEventRecord(begin, stream));
    SLIP_CUDA(cudaGraphLaunch(exec, stream));
    SLIP_CUDA(cudaEventRecord(end, stream));
    SLIP_CUDA(cudaEventSynchronize(end));
    float ms;
    SLIP_CUDA(cudaEventElapsedTime(&ms, begin, end));
    if (warm_up_ms > 0) {
      warm_up_ms -= ms;
    } else {
      us.push_back(ms * 1e3 / calls);
    }
  }
  std::sort(us.begin(), us.end());
  SLIP_CUDA(cudaEventDestroy(begin));
  SLIP_CUDA(cudaEventDestroy(end));
  SLIP_CUDA(cudaGraphExecDestroy(exec));
  SLIP_CUDA(cudaGraphDestroy(graph));
  SLIP_CUDA(cudaStreamDestroy(stream));
  return {us[us.size() / 2], us[0]};
}

}  // namespace slipstream::bench
