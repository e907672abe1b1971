#include "server/grpc/library_log.h"

#include <fmt/core.h>
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <mutex>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/open_files.h"

namespace slipstream {
namespace {

// Most are faults of clients, who can make any number of them: one of a burst is worth a warning.
void Write(bool is_error, std::string_view who, std::string_view text) {
  static std::mutex mutex;
  static BurstGate gate;
  bool warn = is_error;
  if (is_error) {
    std::lock_guard lock(mutex);
    warn = gate.Enter(NowUs());
  }
  while (text.ends_with('\n') || text.ends_with(' ')) text.remove_suffix(1);
  constexpr size_t kMostBytes = 1000;
  const std::string line = fmt::format("{}: {}", who, text.substr(0, kMostBytes));
  if (warn) {
    LogWarning("{}", line);
  } else {
    LogDebug("{}", line);
  }
}

void FromGrpc(gpr_log_func_args* line) {
  Write(line->severity == GPR_LOG_SEVERITY_ERROR, "gRPC", line->message);
}

void FromProtobuf(google::protobuf::LogLevel level, const char*, int, const std::string& message) {
  Write(level >= google::protobuf::LOGLEVEL_WARNING, "protobuf", message);
}

}  // namespace

void TakeOverLibraryLogs() {
  gpr_set_log_function(FromGrpc);
  google::protobuf::SetLogHandler(FromProtobuf);
}

}  // namespace slipstream
