#include "backend/devices.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

namespace slipstream {

bool BuiltWithCuda() { return true; }

Result<std::vector<Device>> ListCudaDevices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver) {
    return std::vector<Device>{};  // no GPU, or no driver at all
  }
  if (status != cudaSuccess) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("CUDA does not start: {}", cudaGetErrorString(status)));
  }
  int driver = 0;
  cudaDriverGetVersion(&driver);
  std::vector<Device> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp p{};
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) continue;
    devices.push_back({"cuda", i, p.name, p.totalGlobalMem,
                       fmt::format("sm_{}{}, {} SMs, {} MiB L2, driver for CUDA {}.{}", p.major,
                                   p.minor, p.multiProcessorCount, p.l2CacheSize >> 20,
                                   driver / 1000, driver % 1000 / 10)});
  }
  return devices;
}

}  // namespace slipstream
