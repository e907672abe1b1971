#include "base/log.h"

#include <poll.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/log_fields.h"
#include "base/utf8.h"

namespace slipstream {
namespace {

std::atomic<bool> json_format{false};

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

// Writes lines to stderr, and drops them while it is a pipe that nobody empties: a server must not
// stand still for its log. What cannot be written (a full disk) is lost as well.
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    pollfd out{STDERR_FILENO, POLLOUT, 0};
    if (poll(&out, 1, 0) != 1) {
      ++lost_;
      return;
    }
    spdlog::memory_buf_t line;
    if (lost_ > 0) {
      std::string words = fmt::format("{} log lines before this were lost: nobody read them",
                                      std::exchange(lost_, 0));
      if (json_format) words = "\"message\":\"" + words + '"';
      const spdlog::details::log_msg note(message.logger_name, spdlog::level::warn, words);
      formatter_->format(note, line);
    }
    formatter_->format(message, line);
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  }
  void flush_() override {}

 private:
  int64_t lost_ = 0;
};

spdlog::logger& Logger() {
  // Never destroyed: threads of libraries may have something to say after main.
  static const auto& logger = *new std::shared_ptr<spdlog::logger>([] {
    auto l = std::make_shared<spdlog::logger>("slipstream", std::make_shared<StderrSink>());
    l->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    return l;
  }());
  return *logger;
}

// Texts of clients and files come here too: bytes that are not UTF-8 become U+FFFD.
std::string JsonEscape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 8);
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const auto c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      out += "\xEF\xBF\xBD";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += text[0];
    } else if (c < 0x20 || c == 0x7F) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

}  // namespace

void InitLog(LogLevel level, LogFormat format) {
  json_format = format == LogFormat::kJson;
  Logger().set_level(ToSpdlog(level));
  Logger().set_pattern(format == LogFormat::kJson
                           ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})"
                           : "%Y-%m-%d %H:%M:%S.%e %L %v");
}

bool LogEnabled(LogLevel level) { return Logger().should_log(ToSpdlog(level)); }

void LogLine(LogLevel level, std::string_view message) { LogWith(level, message, {}); }

void LogWith(LogLevel level, std::string_view message, const LogFields& fields) {
  if (!LogEnabled(level)) return;
  std::string line;
  if (json_format) {
    line = "\"message\":\"" + JsonEscape(message) + '"' + fields.text();
  } else {
    line.append(message).append(fields.text());
  }
  Logger().log(ToSpdlog(level), spdlog::string_view_t(line));
}

LogFields& LogFields::Add(std::string_view name, std::string_view text) {
  // In the text format a value with spaces is quoted, so that fields can be told apart.
  const bool plain =
      !json_format && !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return c > ' ' && c < 0x7F && c != '"' && c != '\\' && c != '=';
      });
  text_ += json_format ? fmt::format(",\"{}\":\"{}\"", name, JsonEscape(text))
           : plain     ? fmt::format(" {}={}", name, text)
                       : fmt::format(" {}=\"{}\"", name, JsonEscape(text));
  return *this;
}

LogFields& LogFields::Add(std::string_view name, int64_t value) {
  text_ +=
      json_format ? fmt::format(",\"{}\":{}", name, value) : fmt::format(" {}={}", name, value);
  return *this;
}

LogFields& LogFields::AddSeconds(std::string_view name, double seconds) {
  text_ += json_format ? fmt::format(",\"{}\":{:.6f}", name, seconds)
                       : fmt::format(" {}={:.6f}", name, seconds);
  return *this;
}

}  // namespace slipstream
