#include <cmath>
#include <vector>

#include "kernels/api/cpu_attention.h"

namespace slipstream::kernels::reference {

void AttendOne(const float* q, const float* k, const float* v, int64_t kv_len, int head_dim,
               float scale, int sliding_window, float logit_softcap, float* out) {
  const int64_t first = sliding_window > 0 && kv_len > sliding_window ? kv_len - sliding_window : 0;
  std::vector<double> score(static_cast<size_t>(kv_len));
  double max = -INFINITY, sum = 0.0;
  for (int64_t j = first; j < kv_len; ++j) {
    double s = 0.0;
    for (int d = 0; d < head_dim; ++d) s += static_cast<double>(q[d]) * k[j * head_dim + d];
    s *= scale;
    if (logit_softcap > 0) s = logit_softcap * std::tanh(s / logit_softcap);
    score[j] = s;
    max = std::fmax(max, s);
  }
  for (int64_t j = first; j < kv_len; ++j) sum += score[j] = std::exp(score[j] - max);
  for (int d = 0; d < head_dim; ++d) {
    double o = 0.0;
    for (int64_t j = first; j < kv_len; ++j) o += score[j] * v[j * head_dim + d];
    out[d] = static_cast<float>(o / sum);
  }
}

}  // namespace slipstream::kernels::reference
