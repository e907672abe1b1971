// What: text as Python sees it: strings of code points, its idea of blanks and lines, its repr of
//   strings and floats. Bytes that are no UTF-8 count as one character each and stay as they are.
// Owner: pure functions. Thread: any. Fails: never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace slipstream::jinja {

// Decodes the character at `pos` and moves past it; a broken byte b gives 0xDC00 + b.
char32_t NextChar(std::string_view text, size_t& pos);
void AppendUtf8(std::string& out, char32_t c);
int64_t CharCount(std::string_view text);
// Byte offset of character number `index` (the end if there are fewer).
size_t ByteOffset(std::string_view text, int64_t index);

bool IsSpace(char32_t c);
std::string_view StripLeft(std::string_view text);
std::string_view StripRight(std::string_view text);
inline std::string_view Strip(std::string_view text) { return StripLeft(StripRight(text)); }
// Strips any of the characters in `chars`.
std::string_view StripChars(std::string_view text, std::string_view chars, bool left, bool right);
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);

std::string ToUpper(std::string_view text);
std::string ToLower(std::string_view text);
std::string Title(std::string_view text);       // str.title()
std::string Capitalize(std::string_view text);  // str.capitalize()
std::string SwapCase(std::string_view text);
bool IsAlpha(char32_t c);
bool IsUpperChar(char32_t c);
bool IsLowerChar(char32_t c);

std::string ReprStr(std::string_view text);
std::string ReprFloat(double value);

}  // namespace slipstream::jinja
