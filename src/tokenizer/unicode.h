// UTF-8 and the Unicode classes that tokenizers split by. Pure functions, any thread; cannot fail.
// Categories and normal forms come from utf8proc (Unicode 15.0). Source: the Unicode standard,
// chapter 3.9 (maximal subparts) and UAX 44 (general categories).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace slipstream::unicode {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Classes as bits, so that a set of them is one mask.
enum Class : uint16_t {
  kUpper = 1 << 0,        // Lu
  kLower = 1 << 1,        // Ll
  kTitle = 1 << 2,        // Lt
  kModifier = 1 << 3,     // Lm
  kOtherLetter = 1 << 4,  // Lo
  kMark = 1 << 5,
  kNumber = 1 << 6,
  kPunctuation = 1 << 7,
  kSymbol = 1 << 8,
  kSpace = 1 << 9,       // White_Space, what \s means
  kDecimal = 1 << 10,    // Nd, always with kNumber
  kConnector = 1 << 11,  // Pc, always with kPunctuation
  kLetter = kUpper | kLower | kTitle | kModifier | kOtherLetter,
};

uint16_t ClassesOf(uint32_t code_point);

// Punctuation as HF `tokenizers` knows it: ASCII signs and, of the rest, what Unicode 8.0 had.
bool IsClassicPunctuation(uint32_t code_point);

struct Decoded {
  uint32_t code_point;
  int length;  // bytes; at least 1
};
// REQUIRES: pos < text.size() and text is valid UTF-8.
Decoded DecodeAt(std::string_view text, size_t pos);
// REQUIRES: pos > 0, text is valid UTF-8, pos at a border. The character that ends at pos.
Decoded DecodeBefore(std::string_view text, size_t pos);
void Append(std::string& out, uint32_t code_point);

// What the bytes at `pos` are: a whole character, a broken sequence (length: its maximal subpart,
// which one U+FFFD replaces), or the start of a character whose end is not there yet.
enum class Unit { kCharacter, kBroken, kUnfinished };
struct Scanned {
  Unit unit;
  int length;
};
Scanned ScanAt(std::string_view text, size_t pos);

bool IsValid(std::string_view text);
// Each broken sequence replaced by one U+FFFD (as Python's errors="replace").
std::string ReplaceBroken(std::string_view text);

enum class Form { kNfc, kNfd, kNfkc, kNfkd };
// REQUIRES: text is valid UTF-8.
std::string Normalize(std::string_view text, Form form);
std::string Lowercase(std::string_view text);

}  // namespace slipstream::unicode
