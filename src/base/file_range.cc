#include "base/file_range.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace slipstream {

Status ReadAt(const FileRange& range, int64_t skip, void* out, size_t bytes) {
  auto* to = static_cast<char*>(out);
  off_t at = range.offset + skip;
  while (bytes > 0) {
    const ssize_t n = pread(range.fd, to, bytes, at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return Fail(ErrorCode::kInternal, fmt::format("{}: {}", range.path, std::strerror(errno)));
    if (n == 0) {
      return Fail(ErrorCode::kDataLoss,
                  fmt::format("{}: ends at byte {}, {} bytes too early: was it changed?",
                              range.path, at, bytes));
    }
    to += n;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return {};
}

}  // namespace slipstream
