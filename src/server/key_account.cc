// The half of api_keys.h that counts.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "server/api_keys.h"

namespace slipstream {

constexpr double kRounding = 1e-9;  // of credit that comes back in many small parts

std::optional<KeyAccount::Refusal> KeyAccount::Enter(int64_t now_us) {
  std::lock_guard lock(mutex_);
  Refill(now_us);
  if (limits_.max_concurrent > 0 && open_ >= limits_.max_concurrent) {
    rejected_concurrency_total.Add();
    return Refusal{fmt::format("this API key already has {} requests at work, its limit", open_)};
  }
  const auto wait = [](double missing, double per_minute) {
    return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(missing * 60 / per_minute)));
  };
  if (limits_.requests_per_minute > 0 && requests_left_ < 1 - kRounding) {
    rejected_requests_total.Add();
    return Refusal{fmt::format("this API key has used its {:g} requests per minute",
                               limits_.requests_per_minute),
                   wait(1 - requests_left_, limits_.requests_per_minute)};
  }
  if (limits_.tokens_per_minute > 0 && tokens_left_ <= 0) {
    rejected_tokens_total.Add();
    return Refusal{
        fmt::format("this API key has used its {:g} tokens per minute", limits_.tokens_per_minute),
        wait(1 - tokens_left_, limits_.tokens_per_minute)};
  }
  if (limits_.requests_per_minute > 0) requests_left_ -= 1;
  ++open_;
  requests_total.Add();
  return std::nullopt;
}

void KeyAccount::Leave() {
  std::lock_guard lock(mutex_);
  --open_;
}

void KeyAccount::Charge(int64_t prompt_tokens, int64_t generation_tokens) {
  prompt_tokens_total.Add(static_cast<uint64_t>(prompt_tokens));
  generation_tokens_total.Add(static_cast<uint64_t>(generation_tokens));
  std::lock_guard lock(mutex_);
  if (limits_.tokens_per_minute > 0)
    tokens_left_ -= static_cast<double>(prompt_tokens + generation_tokens);
}

void KeyAccount::SetLimits(const KeyLimits& limits) {
  std::lock_guard lock(mutex_);
  // A limit that is new begins with a full minute; one that changed keeps what was used of it.
  requests_left_ += limits.requests_per_minute - limits_.requests_per_minute;
  tokens_left_ += limits.tokens_per_minute - limits_.tokens_per_minute;
  limits_ = limits;
}

void KeyAccount::Refill(int64_t now_us) {
  const double minutes =
      refilled_us_ == 0 ? 0 : std::max(0.0, static_cast<double>(now_us - refilled_us_) / 60e6);
  refilled_us_ = now_us;
  const auto fill = [&](double* left, double per_minute) {
    // Without a limit nothing is kept, so that one set later begins full.
    *left = per_minute > 0 ? std::min(std::max(1.0, per_minute), *left + minutes * per_minute) : 0;
  };
  fill(&requests_left_, limits_.requests_per_minute);
  fill(&tokens_left_, limits_.tokens_per_minute);
}

}  // namespace slipstream
