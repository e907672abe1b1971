// Stands in for backend/cuda in builds without a CUDA compiler.
#include "backend/backend.h"
#include "backend/devices.h"

namespace slipstream {

bool BuiltWithCuda() { return false; }
Result<std::vector<Device>> ListCudaDevices() { return std::vector<Device>{}; }

Result<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions&) {
  return Fail(ErrorCode::kUnimplemented,
              "this build has no CUDA code; configure it where nvcc is installed", "device");
}

}  // namespace slipstream
