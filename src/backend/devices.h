// The devices a model could run on, as `slipstream devices` lists them. Main thread. A machine
// without a GPU or driver has no CUDA device: that is no error. A driver that fails is one.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace slipstream {

struct Device {
  std::string kind;  // "cpu", "cuda"
  int index = 0;
  std::string name;
  size_t memory_bytes = 0;
  std::string detail;  // instruction set, or SMs, L2 size and driver
};

Device DescribeCpu();
// Empty in a build without CUDA.
Result<std::vector<Device>> ListCudaDevices();
// Whether this build holds the CUDA code.
bool BuiltWithCuda();

}  // namespace slipstream
