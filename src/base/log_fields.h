// A log line with named values: JSON members in the JSON format, name=value in the text one. For
// events that machines read, such as the end of a request. Any thread; does not fail.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/log.h"

namespace slipstream {

class LogFields {
 public:
  // Names are ours and written as they are; text is escaped.
  LogFields& Add(std::string_view name, std::string_view text);
  LogFields& Add(std::string_view name, int64_t value);
  LogFields& AddSeconds(std::string_view name, double seconds);

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void LogWith(LogLevel level, std::string_view message, const LogFields& fields);

}  // namespace slipstream
