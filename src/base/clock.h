// Monotonic time in microseconds, injected where tests need to move it.
#pragma once

#include <chrono>
#include <cstdint>

namespace slipstream {

inline int64_t NowUs() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace slipstream
