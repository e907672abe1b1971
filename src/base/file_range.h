// Where bytes lie in an open file, and reading them without a mapping: into a buffer of the
// caller's, in large pieces, and a file that has become shorter is an error instead of a signal.
// The descriptor stays its owner's. Any thread; reads do not move the file's position.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace slipstream {

struct FileRange {
  int fd = -1;  // below 0: not in a file
  int64_t offset = 0;
  const char* path = "";  // for messages

  explicit operator bool() const { return fd >= 0; }
};

// Reads `bytes` bytes that begin `skip` behind the range's start.
Status ReadAt(const FileRange& range, int64_t skip, void* out, size_t bytes);

}  // namespace slipstream
