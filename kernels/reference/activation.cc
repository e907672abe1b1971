#include "kernels/api/activation.h"

#include <cmath>

namespace slipstream::kernels::reference {

void GatedActivation(const GatedActivationParams& p) {
  for (int64_t r = 0; r < p.rows; ++r) {
    const float* gate = p.gate_up + r * 2 * p.cols;
    for (int64_t i = 0; i < p.cols; ++i) {
      const double x = gate[i];
      const double a =
          p.gelu_tanh ? 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
                      : x / (1 + std::exp(-x));
      p.out[r * p.cols + i] = static_cast<float>(a * gate[p.cols + i]);
    }
  }
}

void SoftCap(const SoftCapParams& p) {
  for (int64_t i = 0; i < p.elems; ++i) p.x[i] = p.cap * std::tanh(p.x[i] / p.cap);
}

}  // namespace slipstream::kernels::reference
