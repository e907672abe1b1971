#include "base/open_files.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>
#include <system_error>

namespace slipstream {
namespace {

int64_t AsCount(rlim_t limit) {
  constexpr auto kMost = std::numeric_limits<int64_t>::max();
  return limit == RLIM_INFINITY || limit > static_cast<rlim_t>(kMost) ? kMost
                                                                      : static_cast<int64_t>(limit);
}

int64_t OpenFileLimit() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? AsCount(limit.rlim_cur)
                                               : std::numeric_limits<int64_t>::max();
}

int64_t CountOpenFiles() {
  std::error_code ec;
  const std::filesystem::directory_iterator listing("/proc/self/fd", ec);
  return ec ? 0 : std::distance(begin(listing), end(listing));
}

}  // namespace

int64_t RaiseOpenFileLimit(int64_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::numeric_limits<int64_t>::max();
  if (AsCount(limit.rlim_cur) >= wanted) return AsCount(limit.rlim_cur);
  limit.rlim_cur = static_cast<rlim_t>(std::min(wanted, AsCount(limit.rlim_max)));
  setrlimit(RLIMIT_NOFILE, &limit);  // refused: the old one holds
  return OpenFileLimit();
}

int64_t RoomForConnections(int64_t limit) { return limit - kFilesKeptFree - CountOpenFiles(); }

bool MustStayFree(int fd) { return fd >= OpenFileLimit() - kFilesKeptFree; }

}  // namespace slipstream
