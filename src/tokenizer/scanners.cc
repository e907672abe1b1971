#include "tokenizer/scanners.h"

#include <array>

#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

using unicode::ClassesOf;
using unicode::DecodeAt;
using unicode::Decoded;

constexpr uint32_t kEnd = 0xFFFFFFFF;  // no character; of no class

struct Character {
  uint32_t code_point = kEnd;
  uint16_t classes = 0;
  size_t end = 0;  // where the next one starts

  bool Is(uint16_t mask) const { return (classes & mask) != 0; }
  bool at_end() const { return code_point == kEnd; }
  bool IsNewline() const { return code_point == '\r' || code_point == '\n'; }
};

Character At(std::string_view text, size_t pos) {
  if (pos >= text.size()) return {kEnd, 0, pos};
  const Decoded decoded = DecodeAt(text, pos);
  return {decoded.code_point, ClassesOf(decoded.code_point), pos + decoded.length};
}

// End of the run of characters from `pos` that are in `mask` (or, inverted, in none of it), at most
// `limit` of them.
size_t Run(std::string_view text, size_t pos, uint16_t mask, bool inside, int limit = 0) {
  for (int count = 0; limit == 0 || count < limit; ++count) {
    const Character c = At(text, pos);
    if (c.at_end() || c.Is(mask) != inside) break;
    pos = c.end;
  }
  return pos;
}

size_t NewlineRun(std::string_view text, size_t pos) {
  while (pos < text.size() && (text[pos] == '\r' || text[pos] == '\n')) ++pos;
  return pos;
}

// 's 't 'm 'd 're 've 'll after the apostrophe at `pos`; 0 if there is none. Regardless of case,
// the long s (U+017F) is an s.
size_t Contraction(std::string_view text, size_t pos, bool any_case) {
  const auto letter = [&](size_t i) -> char {
    if (i >= text.size()) return 0;
    const char c = text[i];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(pos + 1), second = letter(pos + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return pos + 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
      (first == 'l' && second == 'l')) {
    return pos + 3;
  }
  if (any_case && text.substr(pos + 1, 2) == "\xC5\xBF") return pos + 3;
  return 0;
}

// \s+(?!\S)|\s+ from a blank at `pos`: the last blank before a word stays with the word.
size_t Blanks(std::string_view text, size_t pos) {
  size_t last = pos, end = pos;
  for (Character c = At(text, pos); c.Is(unicode::kSpace); c = At(text, end)) {
    last = end;
    end = c.end;
  }
  return end < text.size() && last > pos ? last : end;
}

size_t NextGpt2(std::string_view text, size_t pos) {
  constexpr uint16_t kWord = unicode::kLetter, kNot = kWord | unicode::kNumber | unicode::kSpace;
  if (text[pos] == '\'') {
    if (const size_t end = Contraction(text, pos, false); end != 0) return end;
  }
  const size_t start = text[pos] == ' ' ? pos + 1 : pos;
  const Character c = At(text, start);
  if (c.Is(kWord)) return Run(text, start, kWord, true);
  if (c.Is(unicode::kNumber)) return Run(text, start, unicode::kNumber, true);
  if (!c.at_end() && !c.Is(kNot)) return Run(text, start, kNot, false);
  return Blanks(text, pos);
}

size_t NextCl100k(const Scanner& scanner, std::string_view text, size_t pos) {
  // The family with marks in words takes them out of [^\s\p{L}\p{N}], but not out of the one
  // character that may come before a word.
  const uint16_t word = unicode::kLetter | (scanner.marks_in_words ? unicode::kMark : 0);
  const uint16_t not_other = word | unicode::kNumber | unicode::kSpace;
  if (text[pos] == '\'') {
    if (const size_t end = Contraction(text, pos, true); end != 0) return end;
  }
  const Character first = At(text, pos);
  const bool may_lead = !first.IsNewline() && !first.Is(unicode::kLetter | unicode::kNumber);
  if (may_lead && At(text, first.end).Is(word)) return Run(text, first.end, word, true);
  if (first.Is(word)) return Run(text, pos, word, true);
  if (first.Is(unicode::kNumber)) {
    return Run(text, pos, unicode::kNumber, true, scanner.max_digits);
  }
  const size_t start = text[pos] == ' ' ? pos + 1 : pos;
  const Character other = At(text, start);
  if (!other.at_end() && !other.Is(not_other)) {
    return NewlineRun(text, Run(text, start, not_other, false));
  }
  // \s*[\r\n]+: up to the last line break of the run of blanks.
  size_t end = pos, after_break = 0;
  for (Character c = first; c.Is(unicode::kSpace); c = At(text, end)) {
    end = c.end;
    if (c.IsNewline()) after_break = end;
  }
  return after_break != 0 ? after_break : Blanks(text, pos);
}

struct Known {
  std::string_view pattern;
  Scanner scanner;
};

#define SLIP_CL100K_HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define SLIP_CL100K_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
constexpr std::array kKnown = {
    Known{"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
          {Scanner::Kind::kGpt2}},
    Known{SLIP_CL100K_HEAD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" SLIP_CL100K_TAIL,
          {Scanner::Kind::kCl100k, 3}},
    Known{SLIP_CL100K_HEAD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" SLIP_CL100K_TAIL,
          {Scanner::Kind::kCl100k, 1}},
    Known{SLIP_CL100K_HEAD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+" SLIP_CL100K_TAIL,
          {Scanner::Kind::kCl100k, 0}},
    Known{SLIP_CL100K_HEAD
          "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
          "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
          {Scanner::Kind::kCl100k, 1, true}},
};
#undef SLIP_CL100K_HEAD
#undef SLIP_CL100K_TAIL

}  // namespace

const std::string_view kGpt2Pattern = kKnown[0].pattern;

size_t Scanner::Next(std::string_view text, size_t pos) const {
  return kind == Kind::kGpt2 ? NextGpt2(text, pos) : NextCl100k(*this, text, pos);
}

std::optional<Scanner> ScannerFor(std::string_view pattern) {
  for (const Known& known : kKnown) {
    if (known.pattern == pattern) return known.scanner;
  }
  return std::nullopt;
}

}  // namespace slipstream
