#include "base/host_memory.h"

#include <fmt/core.h>

#include <charconv>
#include <fstream>
#include <iterator>

#include "base/log.h"

namespace slipstream {
namespace {

// The value of a line "VmRSS:      1234 kB"; 0 when there is none.
int64_t BytesOfLine(std::string_view status, std::string_view key) {
  size_t at = status.find(key);
  while (at != std::string_view::npos && at > 0 && status[at - 1] != '\n') {
    at = status.find(key, at + 1);
  }
  if (at == std::string_view::npos) return 0;
  at = status.find_first_not_of(" \t", at + key.size());
  if (at == std::string_view::npos) return 0;
  int64_t kib = 0;
  std::from_chars(status.data() + at, status.data() + status.size(), kib);
  return kib * 1024;
}

double MiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace

HostMemory ParseHostMemory(std::string_view status) {
  return {.resident_bytes = BytesOfLine(status, "VmRSS:"),
          .own_bytes = BytesOfLine(status, "RssAnon:"),
          .file_bytes = BytesOfLine(status, "RssFile:"),
          .shared_bytes = BytesOfLine(status, "RssShmem:"),
          .peak_bytes = BytesOfLine(status, "VmHWM:")};
}

HostMemory ReadHostMemory() {
  std::ifstream file("/proc/self/status");
  return ParseHostMemory(std::string(std::istreambuf_iterator<char>(file), {}));
}

std::string Describe(const HostMemory& m) {
  return fmt::format("{:.0f} MiB (own {:.0f}, files {:.0f}, shared {:.0f}; peak {:.0f})",
                     MiB(m.resident_bytes), MiB(m.own_bytes), MiB(m.file_bytes),
                     MiB(m.shared_bytes), MiB(m.peak_bytes));
}

void LogHostMemory(std::string_view after) {
  LogDebug("host memory after {}: {}", after, Describe(ReadHostMemory()));
}

}  // namespace slipstream
