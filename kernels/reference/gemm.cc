#include "kernels/api/gemm.h"

namespace slipstream::kernels::reference {

void MatMul(const float* x, const float* w, const float* bias, int64_t m, int64_t n, int64_t k,
            float* y) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = bias != nullptr ? bias[j] : 0.0;
      for (int64_t l = 0; l < k; ++l) sum += static_cast<double>(x[i * k + l]) * w[j * k + l];
      y[i * n + j] = static_cast<float>(sum);
    }
  }
}

}  // namespace slipstream::kernels::reference
