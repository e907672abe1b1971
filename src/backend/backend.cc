#include "backend/backend.h"

#include <cstring>

namespace slipstream {

// Memory that the host can address; devices override both.
Status Backend::Upload(void* dst, const void* src, size_t bytes) {
  if (bytes > 0) std::memcpy(dst, src, bytes);
  return {};
}

Status Backend::Download(void* dst, const void* src, size_t bytes) {
  SLIP_RETURN_IF_ERROR(Synchronize());
  if (bytes > 0) std::memcpy(dst, src, bytes);
  return {};
}

}  // namespace slipstream
