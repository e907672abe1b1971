#include "kernels/api/norm.h"

#include <cmath>

namespace slipstream::kernels::reference {

void RmsNorm(const RmsNormParams& p) {
  for (int64_t r = 0; r < p.rows; ++r) {
    const float* x = p.x + r * p.cols;
    if (p.residual != nullptr) {
      float* res = p.residual + r * p.cols;
      for (int64_t i = 0; i < p.cols; ++i) res[i] += x[i];
      x = res;
    }
    double sum = 0.0;
    for (int64_t i = 0; i < p.cols; ++i) sum += static_cast<double>(x[i]) * x[i];
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(p.cols) + p.eps);
    for (int64_t i = 0; i < p.cols; ++i) {
      p.out[r * p.cols + i] = static_cast<float>(x[i] * scale * p.weight[i]);
    }
  }
}

}  // namespace slipstream::kernels::reference
