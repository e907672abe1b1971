#include "kernels/api/rope.h"

#include <cmath>

namespace slipstream::kernels::reference {

void NormAndRotate(float* head, int head_dim, const float* norm, float eps, const float* cos,
                   const float* sin, int rotary_dim, bool interleaved) {
  if (norm != nullptr) {
    double sum = 0.0;
    for (int i = 0; i < head_dim; ++i) sum += static_cast<double>(head[i]) * head[i];
    const double scale = 1.0 / std::sqrt(sum / head_dim + eps);
    for (int i = 0; i < head_dim; ++i) head[i] = static_cast<float>(head[i] * scale * norm[i]);
  }
  if (cos == nullptr) return;
  for (int i = 0; i < rotary_dim / 2; ++i) {
    float& a = head[interleaved ? 2 * i : i];
    float& b = head[interleaved ? 2 * i + 1 : i + rotary_dim / 2];
    const float x = a, y = b;
    a = x * cos[i] - y * sin[i];
    b = y * cos[i] + x * sin[i];
  }
}

}  // namespace slipstream::kernels::reference
