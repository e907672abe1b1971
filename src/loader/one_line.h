// Makes an error fit for a terminal and a log: messages quote names that come from damaged files,
// so control characters become '?' and the length is bounded. Pure, any thread.
#pragma once

#include <utility>

#include "base/result.h"

namespace slipstream {

inline Error OneLine(Error error) {
  constexpr size_t kMaxBytes = 600;
  if (error.message.size() > kMaxBytes) {
    error.message.resize(kMaxBytes);
    error.message += "...";
  }
  for (char& c : error.message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return error;
}

}  // namespace slipstream
