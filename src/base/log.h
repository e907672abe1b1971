// Process log: one line per event on stderr, text or JSON. The only place that knows spdlog.
// Any thread. Never called per token.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace slipstream {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };
enum class LogFormat { kText, kJson };

// Sets level and format for the whole process. Call before threads start.
void InitLog(LogLevel level, LogFormat format);

// Writes one line; `message` is escaped in JSON format.
void LogLine(LogLevel level, std::string_view message);
bool LogEnabled(LogLevel level);

template <typename... A>
void LogDebug(fmt::format_string<A...> f, A&&... a) {
  if (LogEnabled(LogLevel::kDebug)) {
    LogLine(LogLevel::kDebug, fmt::format(f, std::forward<A>(a)...));
  }
}
template <typename... A>
void LogInfo(fmt::format_string<A...> f, A&&... a) {
  LogLine(LogLevel::kInfo, fmt::format(f, std::forward<A>(a)...));
}
template <typename... A>
void LogWarning(fmt::format_string<A...> f, A&&... a) {
  LogLine(LogLevel::kWarning, fmt::format(f, std::forward<A>(a)...));
}
template <typename... A>
void LogError(fmt::format_string<A...> f, A&&... a) {
  LogLine(LogLevel::kError, fmt::format(f, std::forward<A>(a)...));
}

}  // namespace slipstream
