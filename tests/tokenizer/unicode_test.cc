#include "tokenizer/unicode.h"

#include <gtest/gtest.h>

#include <string>

namespace slipstream::unicode {
namespace {

TEST(Unicode, ScansWholeBrokenAndUnfinishedSequences) {
  const struct {
    std::string text;
    Unit unit;
    int length;
  } cases[] = {
      {"a", Unit::kCharacter, 1},
      {"\xC3\xA9", Unit::kCharacter, 2},
      {"\xE4\xB8\xAD", Unit::kCharacter, 3},
      {"\xF0\x9F\x98\x80", Unit::kCharacter, 4},
      {"\xF4\x8F\xBF\xBF", Unit::kCharacter, 4},
      {"\xC3", Unit::kUnfinished, 1},
      {"\xF0\x9F\x98", Unit::kUnfinished, 3},
      {"\x80", Unit::kBroken, 1},
      {"\xC0\x80", Unit::kBroken, 1},          // overlong
      {"\xE0\x80\x80", Unit::kBroken, 1},      // overlong
      {"\xED\xA0\x80", Unit::kBroken, 1},      // surrogate
      {"\xF4\x90\x80\x80", Unit::kBroken, 1},  // beyond U+10FFFF
      {"\xF5", Unit::kBroken, 1},
      {"\xE4\xB8z", Unit::kBroken, 2},
      {"\xF0\x9F\x98z", Unit::kBroken, 3},
  };
  for (const auto& c : cases) {
    const Scanned scanned = ScanAt(c.text, 0);
    EXPECT_EQ(scanned.unit, c.unit) << testing::PrintToString(c.text);
    EXPECT_EQ(scanned.length, c.length) << testing::PrintToString(c.text);
  }
}

// Expected texts: bytes.decode("utf-8", errors="replace") of Python.
TEST(Unicode, ReplacesMaximalSubparts) {
  const std::string r(kReplacement);
  EXPECT_EQ(ReplaceBroken("a\xE4\xB8z"), "a" + r + "z");
  EXPECT_EQ(ReplaceBroken("\xF0\x9F\x98"), r);
  EXPECT_EQ(ReplaceBroken("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(ReplaceBroken("\xC1\x81"), r + r);
  EXPECT_EQ(ReplaceBroken("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(ReplaceBroken("\xE2\x82\xE2\x82\xAC"), r + "\xE2\x82\xAC");
  EXPECT_TRUE(IsValid(ReplaceBroken("\xFF\xFE long enough to take the fast path \x80")));
  EXPECT_FALSE(IsValid("long enough to take the fast path, then broken: \x80"));
}

TEST(Unicode, DecodesForwardsAndBackwards) {
  std::string text;
  const uint32_t points[] = {0x24, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFD, 0x10000, 0x10FFFF};
  for (const uint32_t c : points) Append(text, c);
  size_t pos = 0;
  for (const uint32_t c : points) {
    const Decoded decoded = DecodeAt(text, pos);
    EXPECT_EQ(decoded.code_point, c);
    pos += static_cast<size_t>(decoded.length);
    EXPECT_EQ(DecodeBefore(text, pos).code_point, c);
  }
  EXPECT_EQ(pos, text.size());
}

TEST(Unicode, KnowsClasses) {
  EXPECT_EQ(ClassesOf('A'), kUpper);
  EXPECT_EQ(ClassesOf(0x4E2D), kOtherLetter);
  EXPECT_EQ(ClassesOf(0x301), kMark);
  EXPECT_EQ(ClassesOf(0xBD), kNumber);
  EXPECT_EQ(ClassesOf(0x0663), kNumber | kDecimal);
  EXPECT_EQ(ClassesOf('_'), kPunctuation | kConnector);
  EXPECT_EQ(ClassesOf('+'), kSymbol);
  for (const uint32_t blank : {0x09u, 0x0Bu, 0x20u, 0x85u, 0xA0u, 0x2028u, 0x3000u}) {
    EXPECT_EQ(ClassesOf(blank), kSpace) << blank;
  }
  EXPECT_EQ(ClassesOf(0x200B), 0);  // zero width space is no White_Space
  EXPECT_EQ(ClassesOf(0x180E), 0);
}

TEST(Unicode, NormalizesAndLowers) {
  EXPECT_EQ(Normalize("e\xCC\x81", Form::kNfc), "\xC3\xA9");
  EXPECT_EQ(Normalize("\xC3\xA9", Form::kNfd), "e\xCC\x81");
  EXPECT_EQ(Normalize("\xEF\xAC\x81", Form::kNfc), "\xEF\xAC\x81");
  EXPECT_EQ(Normalize("\xEF\xAC\x81", Form::kNfkc), "fi");
  EXPECT_EQ(Lowercase("STRASSE \xC3\x89\xC4\xB0"), "strasse \xC3\xA9i\xCC\x87");
}

}  // namespace
}  // namespace slipstream::unicode
