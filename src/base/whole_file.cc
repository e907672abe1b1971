#include "base/whole_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace slipstream {
namespace {

tl::unexpected<Error> Failed(const std::string& path, int code) {
  return Fail(code == ENOENT ? ErrorCode::kNotFound : ErrorCode::kFailedPrecondition,
              fmt::format("{}: {}", path, std::strerror(code)));
}

Result<std::string> ReadToEnd(int fd, const std::string& path, size_t expected, size_t max_bytes) {
  constexpr size_t kLeast = 4096;
  std::string text;
  size_t have = 0;
  while (true) {
    if (have == text.size()) text.resize(std::max({expected + 1, 2 * have, kLeast}));
    const ssize_t n = read(fd, text.data() + have, text.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed(path, errno);
    if (n == 0) break;
    have += static_cast<size_t>(n);
    if (have > max_bytes) {
      return InvalidArgument(fmt::format("{}: has more than {} bytes", path, max_bytes));
    }
  }
  text.resize(have);
  return text;
}

}  // namespace

Result<std::string> ReadWholeFile(const std::string& path, size_t max_bytes, bool pipes) {
  // O_NONBLOCK: opening a pipe without a writer would wait for ever.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | (pipes ? 0 : O_NONBLOCK));
  if (fd < 0) return Failed(path, errno);
  const auto read_it = [&]() -> Result<std::string> {
    struct stat info {};
    if (fstat(fd, &info) != 0) return Failed(path, errno);
    const bool is_file = S_ISREG(info.st_mode);
    if (!is_file && !(pipes && S_ISFIFO(info.st_mode))) {
      return InvalidArgument(path + ": not a regular file");
    }
    const auto size = static_cast<size_t>(info.st_size);
    if (is_file && size > max_bytes) {
      return InvalidArgument(
          fmt::format("{}: has {} bytes, at most {} are read", path, size, max_bytes));
    }
    return ReadToEnd(fd, path, is_file ? size : 0, max_bytes);
  };
  auto text = read_it();
  close(fd);
  return text;
}

}  // namespace slipstream
