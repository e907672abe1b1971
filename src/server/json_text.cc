#include "server/json_text.h"

#include <charconv>
#include <cmath>
#include <cstdint>

#include "base/utf8.h"

namespace slipstream {
namespace {

void AppendControl(std::string* out, char c) {
  switch (c) {
    case '\n':
      out->append("\\n");
      return;
    case '\t':
      out->append("\\t");
      return;
    case '\r':
      out->append("\\r");
      return;
    case '\b':
      out->append("\\b");
      return;
    case '\f':
      out->append("\\f");
      return;
    default:
      break;
  }
  constexpr char kHex[] = "0123456789abcdef";
  out->append("\\u00");
  out->push_back(kHex[(c >> 4) & 0xF]);
  out->push_back(kHex[c & 0xF]);
}

}  // namespace

void AppendJsonEscaped(std::string* out, std::string_view text) {
  size_t plain = 0;  // start of the run that needs no escape
  size_t i = 0;
  const auto flush = [&] { out->append(text.substr(plain, i - plain)); };
  while (i < text.size()) {
    const char c = text[i];
    if (static_cast<uint8_t>(c) >= 0x80) {
      const size_t length = Utf8Length(text.substr(i));
      if (length > 0) {
        i += length;
        continue;
      }
      flush();
      out->append("\xEF\xBF\xBD");
    } else if (c == '"' || c == '\\') {
      flush();
      out->push_back('\\');
      out->push_back(c);
    } else if (static_cast<uint8_t>(c) < 0x20) {
      flush();
      AppendControl(out, c);
    } else {
      ++i;
      continue;
    }
    plain = ++i;
  }
  flush();
}

void AppendJsonString(std::string* out, std::string_view text) {
  out->push_back('"');
  AppendJsonEscaped(out, text);
  out->push_back('"');
}

void AppendJsonFloat(std::string* out, float value) {
  if (!std::isfinite(value)) {
    out->append("-9999.0");
    return;
  }
  char buffer[48];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  out->append(buffer, end.ptr);
}

void AppendInt(std::string* out, long long value) {
  char buffer[24];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  out->append(buffer, end.ptr);
}

size_t CountCodePoints(std::string_view text) {
  size_t n = 0;
  for (const char c : text) n += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return n;
}

std::string Clip(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  size_t end = max_bytes;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

}  // namespace slipstream
