// Stands in for backend/cuda in builds without a CUDA compiler.
#include "backend/devices.h"

namespace slipstream {

bool BuiltWithCuda() { return false; }
Result<std::vector<Device>> ListCudaDevices() { return std::vector<Device>{}; }

}  // namespace slipstream
