// Moves small float vectors (norms, rotation tables) into a backend's memory. On the backend's
// thread; fails if Allocate or Upload does.
#pragma once

#include <memory>
#include <span>

#include "backend/backend.h"
#include "base/result.h"

namespace slipstream {

inline Result<std::unique_ptr<Buffer>> UploadFloats(Backend& backend,
                                                    std::span<const float> values) {
  SLIP_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend.Allocate(values.size_bytes()));
  SLIP_RETURN_IF_ERROR(backend.Upload(buffer->data(), values.data(), values.size_bytes()));
  return buffer;
}

}  // namespace slipstream
