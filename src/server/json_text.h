// JSON by string assembly, for bodies that are written once per token. Pure functions, any thread,
// never fail. Text: RFC 8259.
#pragma once

#include <string>
#include <string_view>

namespace slipstream {

// Appends `text` quoted and escaped. Bytes that are not UTF-8 become U+FFFD.
void AppendJsonString(std::string* out, std::string_view text);
// The same without the quotes.
void AppendJsonEscaped(std::string* out, std::string_view text);
// Shortest form that reads back as the same float; infinities and NaN become -9999.0, which is
// what OpenAI clients expect for a log probability of zero chance.
void AppendJsonFloat(std::string* out, float value);
void AppendInt(std::string* out, long long value);

// Code points of UTF-8 text (bytes that do not continue a character).
size_t CountCodePoints(std::string_view text);
// At most `max_bytes` of `text`, cut at a character, with "..." when cut.
std::string Clip(std::string_view text, size_t max_bytes);

}  // namespace slipstream
