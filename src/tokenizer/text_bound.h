// The fewest tokens that a text can have, told from its bytes alone: no token stands for more than
// so many of them. For refusing in microseconds what would take seconds to encode. Plain value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace slipstream {

struct TextBound {
  size_t max_bytes = 0;               // of text behind one token; 0: no limit is known
  std::array<bool, 256> vanishing{};  // bytes that may become no token

  size_t MinTokens(std::string_view text) const {
    if (max_bytes == 0) return 0;
    size_t kept = 0;
    for (const char c : text) kept += vanishing[static_cast<uint8_t>(c)] ? 0 : 1;
    return (kept + max_bytes - 1) / max_bytes;
  }
};

}  // namespace slipstream
