// The content of a file of settings, keys or a tokenizer. Never waits on a pipe or reads a device
// without end by mistake. Any thread. Fails with the file's name and the system's reason.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace slipstream {

// At most `max_bytes` of a regular file; `pipes`: also of a pipe, to its end, as a shell's <(...)
// is one.
Result<std::string> ReadWholeFile(const std::string& path, size_t max_bytes, bool pipes = false);

}  // namespace slipstream
