// Moves small float vectors (norms, rotation tables) into a backend's memory. REQUIRES: the
// backend's memory is addressable by the host, as the CPU's is. Any thread; fails if Allocate does.
#pragma once

#include <cstring>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "base/result.h"

namespace slipstream {

inline Result<std::unique_ptr<Buffer>> UploadFloats(Backend& backend,
                                                    std::span<const float> values) {
  SLIP_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend.Allocate(values.size_bytes()));
  std::memcpy(buffer->data(), values.data(), values.size_bytes());
  return buffer;
}

}  // namespace slipstream
