#include "backend/backend.h"

#include <cstring>

namespace slipstream {

// Memory that the host can address; devices override both.
Status Backend::Upload(void* dst, const void* src, size_t bytes) {
  if (bytes > 0) std::memcpy(dst, src, bytes);
  return {};
}

Status Backend::Download(void* dst, const void* src, size_t bytes) {
  SLIP_RETURN_IF_ERROR(Synchronize());
  if (bytes > 0) std::memcpy(dst, src, bytes);
  return {};
}

Result<std::unique_ptr<Linear>> Backend::MakeGatedLinear(const WeightView& gate,
                                                         const WeightView& up,
                                                         std::span<const float> bias) {
  const WeightView parts[] = {gate, up};
  return MakeLinear(parts, bias);
}

void Backend::MatMulAddRmsNorm(const Linear& w, TensorView x, TensorView residual,
                               const float* weight, float eps, TensorView out) {
  MatMul(w, x, out);
  AddRmsNorm(residual, out, weight, eps, out);
}

void Backend::MatMulGated(const Linear& w, TensorView x, ActivationKind kind, TensorView scratch,
                          TensorView out) {
  MatMul(w, x, scratch);
  GatedActivation(scratch, kind, out);
}

}  // namespace slipstream
