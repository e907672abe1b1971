#include "tokenizer/jinja/lexer.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "tokenizer/jinja/text.h"
#include "tokenizer/jinja/value.h"

namespace slipstream::jinja {
namespace {

// Newlines become \n; one at the very end is dropped, as Jinja2 does by default.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHex(char c) { return IsDigit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f'); }

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> Run() {
    while (pos_ < source_.size()) Root();
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void Fail(std::string_view what) const {
    Raise(fmt::format("template line {}: {}", line_, what));
  }
  void Add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  bool At(std::string_view what, size_t pos) const {
    return source_.compare(pos, what.size(), what) == 0;
  }
  char Peek(size_t ahead = 0) const {
    return pos_ + ahead < source_.size() ? source_[pos_ + ahead] : '\0';
  }
  void MoveTo(size_t pos) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<long>(pos_),
                                         source_.begin() + static_cast<long>(pos), '\n'));
    if (pos > pos_) line_starting_ = source_[pos - 1] == '\n';
    pos_ = pos;
  }
  size_t SkipSpace(size_t pos) const {
    while (pos < source_.size()) {
      size_t next = pos;
      if (!IsSpace(NextChar(source_, next))) break;
      pos = next;
    }
    return pos;
  }

  // Text up to the next tag, then the tag.
  void Root() {
    size_t tag = pos_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        Add(TokenKind::kText, source_.substr(pos_));
        MoveTo(source_.size());
        return;
      }
      const char kind = source_[tag + 1];
      if (kind == '{' || kind == '%' || kind == '#') break;
      ++tag;
    }
    const char kind = source_[tag + 1];
    size_t inside = tag + 2;
    char sign = inside < source_.size() ? source_[inside] : '\0';
    if (sign == '-' || sign == '+') {
      ++inside;
    } else {
      sign = '\0';
    }
    AddText(tag, kind, sign);
    if (kind == '#') {
      Comment(inside);
    } else if (kind == '{') {
      Add(TokenKind::kOutputBegin, "{{");
      MoveTo(inside);
      Expression(TokenKind::kOutputEnd);
    } else if (!Raw(inside)) {
      Add(TokenKind::kBlockBegin, "{%");
      MoveTo(inside);
      Expression(TokenKind::kBlockEnd);
    }
  }

  // The text before a tag at `end`, stripped as the tag asks.
  void AddText(size_t end, char kind, char sign) {
    std::string_view text = std::string_view(source_).substr(pos_, end - pos_);
    if (sign == '-') {
      text = StripRight(text);
    } else if (sign != '+' && kind != '{') {
      const size_t newline = text.rfind('\n');
      const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
      if ((start > 0 || line_starting_) && Strip(text.substr(start)).empty()) {
        text = text.substr(0, start);
      }
    }
    if (!text.empty()) Add(TokenKind::kText, std::string(text));
    MoveTo(end);
  }

  // The end of a block or comment at `pos` (of "%}" or "#}") swallows blanks as its sign asks.
  size_t AfterEnd(size_t pos, char sign) const {
    pos += 2;
    if (sign == '-') return SkipSpace(pos);
    if (sign != '+' && pos < source_.size() && source_[pos] == '\n') return pos + 1;
    return pos;
  }

  void Comment(size_t inside) {
    const size_t end = source_.find("#}", inside);
    if (end == std::string::npos) Fail("Missing end of comment tag");
    MoveTo(AfterEnd(end, end > inside ? source_[end - 1] : '\0'));
  }

  // {% raw %} ... {% endraw %}; false if the tag at hand is another.
  bool Raw(size_t inside) {
    size_t pos = SkipSpace(inside);
    if (!At("raw", pos)) return false;
    pos = SkipSpace(pos + 3);
    const bool trim = At("-%}", pos);
    if (!trim && !At("%}", pos)) return false;
    MoveTo(trim ? SkipSpace(pos + 3) : pos + 2);
    for (size_t tag = source_.find("{%", pos_); tag != std::string::npos;
         tag = source_.find("{%", tag + 2)) {
      size_t p = tag + 2;
      const char sign = p < source_.size() ? source_[p] : '\0';
      if (sign == '-' || sign == '+') ++p;
      p = SkipSpace(p);
      if (!At("endraw", p)) continue;
      p = SkipSpace(p + 6);
      const char end_sign = p < source_.size() && source_[p] != '%' ? source_[p] : '\0';
      if (end_sign == '-' || end_sign == '+') ++p;
      if (!At("%}", p)) continue;
      AddText(tag, '%', sign == '-' || sign == '+' ? sign : '\0');
      MoveTo(AfterEnd(p, end_sign));
      return true;
    }
    Fail("Missing end of raw directive");
  }

  // Tokens up to the end of the tag.
  void Expression(TokenKind end) {
    const std::string_view close = end == TokenKind::kOutputEnd ? "}}" : "%}";
    std::string open;  // closing brackets still expected
    while (true) {
      if (pos_ >= source_.size()) Fail("unexpected end of template inside a tag");
      if (open.empty()) {
        const char sign = Peek();
        const bool signed_end =
            (sign == '-' || (sign == '+' && close == "%}")) && At(close, pos_ + 1);
        if (signed_end || At(close, pos_)) {
          Add(end, std::string(close));
          const size_t at = pos_ + (signed_end ? 1 : 0);
          if (end == TokenKind::kBlockEnd) {
            MoveTo(AfterEnd(at, signed_end ? sign : '\0'));
          } else {
            MoveTo(signed_end ? SkipSpace(at + 2) : at + 2);
          }
          return;
        }
      }
      const size_t blank = SkipSpace(pos_);
      if (blank != pos_) {
        MoveTo(blank);
      } else if (IsDigit(Peek())) {
        Number();
      } else if (IsNameStart(Peek())) {
        size_t p = pos_;
        while (p < source_.size() && (IsNameStart(source_[p]) || IsDigit(source_[p]))) ++p;
        Add(TokenKind::kName, source_.substr(pos_, p - pos_));
        MoveTo(p);
      } else if (Peek() == '"' || Peek() == '\'') {
        String();
      } else {
        Operator(open);
      }
    }
  }

  void Number() {
    size_t p = pos_;
    const auto digits = [&](auto accept) {
      while (p < source_.size() &&
             (accept(source_[p]) ||
              (source_[p] == '_' && p + 1 < source_.size() && accept(source_[p + 1])))) {
        ++p;
      }
    };
    const char base = static_cast<char>(Peek(1) | 32);
    bool is_float = false;
    if (Peek() == '0' && (base == 'x' || base == 'o' || base == 'b')) {
      p += 2;
      digits(IsHex);
    } else {
      digits(IsDigit);
      const bool after_dot = pos_ > 0 && source_[pos_ - 1] == '.';
      if (!after_dot && p + 1 < source_.size() && source_[p] == '.' && IsDigit(source_[p + 1])) {
        is_float = true;
        ++p;
        digits(IsDigit);
      }
      if (!after_dot && p < source_.size() && (source_[p] | 32) == 'e') {
        size_t e = p + 1;
        if (e < source_.size() && (source_[e] == '+' || source_[e] == '-')) ++e;
        if (e < source_.size() && IsDigit(source_[e])) {
          is_float = true;
          p = e;
          digits(IsDigit);
        }
      }
    }
    std::string text = source_.substr(pos_, p - pos_);
    std::erase(text, '_');
    Add(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    MoveTo(p);
  }

  void String() {
    const char quote = Peek();
    size_t p = pos_ + 1;
    std::string text;
    while (p < source_.size() && source_[p] != quote) {
      if (source_[p] == '\\' && p + 1 < source_.size()) {
        p = Unescape(p + 1, text);
      } else {
        text += source_[p++];
      }
    }
    if (p >= source_.size()) Fail("unexpected char: a string that never ends");
    Add(TokenKind::kString, std::move(text));
    MoveTo(p + 1);
  }

  // Python's escapes; `p` is behind the backslash. Returns the position after the escape.
  size_t Unescape(size_t p, std::string& out) {
    const char c = source_[p];
    static constexpr std::string_view kFrom = "\\'\"abfnrtv";
    static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    if (const size_t i = kFrom.find(c); i != std::string_view::npos) {
      out += kTo[i];
      return p + 1;
    }
    if (c == '\n') return p + 1;
    char32_t code = 0;
    if (c >= '0' && c <= '7') {
      size_t end = p;
      while (end < p + 3 && end < source_.size() && source_[end] >= '0' && source_[end] <= '7') {
        code = code * 8 + static_cast<char32_t>(source_[end++] - '0');
      }
      AppendUtf8(out, code);
      return end;
    }
    const size_t length = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (length == 0) {  // unknown escapes keep their backslash
      out += '\\';
      return p;
    }
    for (size_t i = p + 1; i <= p + length; ++i) {
      if (i >= source_.size() || !IsHex(source_[i])) Fail("truncated escape in a string");
      const char h = source_[i];
      code = code * 16 + static_cast<char32_t>(IsDigit(h) ? h - '0' : (h | 32) - 'a' + 10);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) Fail("illegal Unicode character");
    AppendUtf8(out, code);
    return p + 1 + length;
  }

  void Operator(std::string& open) {
    static constexpr std::array<std::string_view, 7> kLong = {
        "==", "!=", "<=", ">=", "//", "**", ""};
    static constexpr std::string_view kShort = "+-/*%~[](){}><=.:|,;";
    for (const std::string_view op : kLong) {
      if (op.empty() || !At(op, pos_)) continue;
      Add(TokenKind::kOperator, std::string(op));
      MoveTo(pos_ + 2);
      return;
    }
    const char c = Peek();
    if (kShort.find(c) == std::string_view::npos) Fail(fmt::format("unexpected char {:?}", c));
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) Fail(fmt::format("unexpected '{}'", c));
      open.pop_back();
    }
    Add(TokenKind::kOperator, std::string(1, c));
    MoveTo(pos_ + 1);
  }

  std::string source_;
  std::vector<Token> tokens_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) {
  return Lexer(NormalizeNewlines(source)).Run();
}

}  // namespace slipstream::jinja
