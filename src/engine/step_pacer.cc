#include "engine/step_pacer.h"

#include <algorithm>
#include <cmath>

namespace slipstream {
namespace {

constexpr double kNewWeight = 0.25;  // of the latest step in an average
constexpr double kMargin = 0.9;      // share of the limit that is planned for

double Blend(double average, double latest) {
  return average == 0 ? latest : average + kNewWeight * (latest - average);
}

}  // namespace

int32_t StepPacer::PrefillTokens() const {
  if (rate_us_ == 0) return kFirstTokens;
  const double tokens = (limit_us_ * kMargin - base_us_) / rate_us_;
  return static_cast<int32_t>(std::clamp(tokens, static_cast<double>(kMinTokens), 1e9));
}

void StepPacer::Observe(int32_t num_prefill_tokens, double us) {
  if (!on() || !(us > 0)) return;
  if (num_prefill_tokens == 0) {
    base_us_ = Blend(base_us_, us);
    return;
  }
  const double rate = std::max(us - base_us_, 0.01 * us) / num_prefill_tokens;
  // A step dearer than planned counts at once, a cheaper one by and by: the limit is on each gap.
  rate_us_ = rate > rate_us_ ? rate : Blend(rate_us_, rate);
}

}  // namespace slipstream
