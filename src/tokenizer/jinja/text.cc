#include "tokenizer/jinja/text.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace slipstream::jinja {
namespace {

constexpr char32_t kBrokenByte = 0xDC00;  // + byte: marks a byte that is no UTF-8

char32_t Upper(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}

char32_t Lower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

void AppendUpper(std::string& out, char32_t c) {
  if (c == 0xDF) {
    out += "SS";  // the one multi-character mapping of everyday text
  } else {
    AppendUtf8(out, Upper(c));
  }
}

// Python: everything but the categories "other" and "separator"; the blank is printable.
bool IsPrintable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) < UTF8PROC_CATEGORY_ZS &&
         utf8proc_category(static_cast<utf8proc_int32_t>(c)) != UTF8PROC_CATEGORY_CN;
}

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

void AppendHex(std::string& out, char32_t c, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += "0123456789abcdef"[(c >> shift) & 15];
  }
}

// Start of the character that ends before `end`.
size_t PreviousChar(std::string_view text, size_t end) {
  size_t start = end - 1;
  while (start > 0 && end - start < 4 && (text[start] & 0xC0) == 0x80) --start;
  size_t pos = start;
  NextChar(text, pos);
  return pos == end ? start : end - 1;
}

}  // namespace

char32_t NextChar(std::string_view text, size_t& pos) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(pos);
  if (lead < 0x80) return text[pos++];
  const int extra = lead >= 0xF0 && lead < 0xF5 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC2 ? 1 : 0;
  if (extra == 0 || lead >= 0xF5 || pos + extra >= text.size()) return kBrokenByte + byte(pos++);
  char32_t c = lead & (0x3F >> extra);
  for (int i = 1; i <= extra; ++i) {
    if ((byte(pos + i) & 0xC0) != 0x80) return kBrokenByte + byte(pos++);
    c = (c << 6) | (byte(pos + i) & 0x3F);
  }
  const bool overlong = (extra == 2 && c < 0x800) || (extra == 3 && c < 0x10000);
  if (overlong || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return kBrokenByte + byte(pos++);
  pos += 1 + extra;
  return c;
}

void AppendUtf8(std::string& out, char32_t c) {
  if (c >= kBrokenByte + 0x80 && c <= kBrokenByte + 0xFF) {
    out += static_cast<char>(c - kBrokenByte);
  } else if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

int64_t CharCount(std::string_view text) {
  int64_t count = 0;
  for (size_t pos = 0; pos < text.size(); ++count) NextChar(text, pos);
  return count;
}

size_t ByteOffset(std::string_view text, int64_t index) {
  size_t pos = 0;
  while (index-- > 0 && pos < text.size()) NextChar(text, pos);
  return pos;
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view StripLeft(std::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    size_t next = pos;
    if (!IsSpace(NextChar(text, next))) break;
    pos = next;
  }
  return text.substr(pos);
}

std::string_view StripRight(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t start = PreviousChar(text, end);
    size_t pos = start;
    if (!IsSpace(NextChar(text, pos))) break;
    end = start;
  }
  return text.substr(0, end);
}

std::string_view StripChars(std::string_view text, std::string_view chars, bool left, bool right) {
  std::u32string set;
  for (size_t pos = 0; pos < chars.size();) set += NextChar(chars, pos);
  std::sort(set.begin(), set.end());
  const auto strip = [&](char32_t c) { return std::binary_search(set.begin(), set.end(), c); };
  size_t begin = 0;
  size_t end = text.size();
  while (left && begin < end) {
    size_t next = begin;
    if (!strip(NextChar(text, next))) break;
    begin = next;
  }
  while (right && end > begin) {
    const size_t start = PreviousChar(text, end);
    size_t pos = start;
    if (!strip(NextChar(text, pos))) break;
    end = start;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    const char32_t c = NextChar(text, pos);
    if (!IsLineEnd(c)) continue;
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    lines.push_back(text.substr(start, (keep_ends ? pos : at) - start));
    start = pos;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

std::string ToUpper(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) AppendUpper(out, NextChar(text, pos));
  return out;
}

std::string ToLower(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) AppendUtf8(out, Lower(NextChar(text, pos)));
  return out;
}

std::string Title(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextChar(text, pos);
    if (in_word) {
      AppendUtf8(out, Lower(c));
    } else {
      AppendUpper(out, c);
    }
    in_word = IsUpperChar(c) || IsLowerChar(c);
  }
  return out;
}

std::string Capitalize(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const bool first = pos == 0;
    const char32_t c = NextChar(text, pos);
    if (first) {
      AppendUpper(out, c);
    } else {
      AppendUtf8(out, Lower(c));
    }
  }
  return out;
}

std::string SwapCase(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextChar(text, pos);
    if (IsUpperChar(c)) {
      AppendUtf8(out, Lower(c));
    } else {
      AppendUpper(out, c);
    }
  }
  return out;
}

bool IsAlpha(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool IsUpperChar(char32_t c) { return Lower(c) != c; }
bool IsLowerChar(char32_t c) { return c == 0xDF || Upper(c) != c; }

std::string ReprStr(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextChar(text, pos);
    if (c == '\\' || c == static_cast<unsigned char>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (IsPrintable(c) || (c >= kBrokenByte && c <= kBrokenByte + 0xFF)) {
      AppendUtf8(out, c);
    } else if (c < 0x100) {
      out += "\\x";
      AppendHex(out, c, 2);
    } else {
      out += c < 0x10000 ? "\\u" : "\\U";
      AppendHex(out, c, c < 0x10000 ? 4 : 8);
    }
  }
  out += quote;
  return out;
}

std::string ReprFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  // Shortest digits that read back as the same number: d[.ddd]e[+-]xx.
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<size_t>(end.ptr - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits = text.data() + e + 1 + (text[e + 1] == '+' ? 1 : 0);
  std::from_chars(digits, end.ptr, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

}  // namespace slipstream::jinja
