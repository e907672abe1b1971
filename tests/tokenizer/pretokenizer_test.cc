#include "tokenizer/pretokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tokenizer/byte_level.h"
#include "tokenizer/scanners.h"
#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

using Strings = std::vector<std::string>;

Strings Cut(const PreTokenizer& step, const std::string& text, bool at_start = true) {
  PreText pre;
  pre.text = text;
  pre.at_start = at_start;
  if (!text.empty()) pre.pieces.push_back({0, text.size()});
  EXPECT_TRUE(step.Apply(pre));
  Strings out;
  for (const auto& piece : pre.pieces) out.emplace_back(pre[piece]);
  return out;
}

Strings CutBy(const std::string& pattern, SplitBehavior behavior, const std::string& text,
              bool invert = false) {
  const auto step = MakePatternSplit(pattern, behavior, invert);
  EXPECT_TRUE(step) << step.error().message;
  return Cut(**step, text);
}

std::string RandomText(std::mt19937& random) {
  static const Strings kParts = {"a",
                                 "Z",
                                 "word",
                                 "'s",
                                 "'S",
                                 "'ll",
                                 "'VE",
                                 "'",
                                 "\xC5\xBF",
                                 " ",
                                 "  ",
                                 "\n",
                                 "\r",
                                 "\t",
                                 "1",
                                 "23",
                                 "456",
                                 ".",
                                 "!?",
                                 "_",
                                 "\xC2\xA0",
                                 "\xCC\x81",
                                 "\xE4\xB8\xAD",
                                 "\xC3\xA9",
                                 "\xD9\xA3",
                                 "\xC2\xBD",
                                 "\xF0\x9F\x98\x80",
                                 "\xE2\x80\x8B",
                                 "\xE3\x80\x80",
                                 "\xC2\x85",
                                 "$",
                                 "+=",
                                 "\xC7\x85"};
  std::string text;
  for (size_t n = random() % 24; n > 0; --n) text += kParts[random() % kParts.size()];
  return text;
}

// The hand-written scanners cut as the regular expressions they stand for: PCRE2 is the judge. It
// gets the same pattern in a group, which no scanner knows.
TEST(Scanners, CutAsTheirPatterns) {
  const std::string head = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|";
  const std::string tail = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const std::string lead = "[^\\r\\n\\p{L}\\p{N}]?";
  const Strings patterns = {
      std::string(kGpt2Pattern), head + lead + "\\p{L}+|\\p{N}{1,3}" + tail,
      head + lead + "\\p{L}+|\\p{N}" + tail, head + lead + "\\p{L}+|\\p{N}+" + tail,
      head + lead +
          "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
          "\\s+(?!\\S)|\\s+"};
  std::mt19937 random(7);
  for (const std::string& pattern : patterns) {
    ASSERT_TRUE(ScannerFor(pattern)) << pattern;
    ASSERT_FALSE(ScannerFor("(?:" + pattern + ")"));
    for (int i = 0; i < 4000; ++i) {
      const std::string text = RandomText(random);
      ASSERT_EQ(CutBy(pattern, SplitBehavior::kIsolated, text),
                CutBy("(?:" + pattern + ")", SplitBehavior::kIsolated, text))
          << pattern << "\n"
          << testing::PrintToString(text);
    }
  }
}

TEST(PreTokenizer, SplitBehaviors) {
  using enum SplitBehavior;
  EXPECT_EQ(CutBy("-", kRemoved, "a--b-"), (Strings{"a", "b"}));
  EXPECT_EQ(CutBy("-", kIsolated, "a--b-"), (Strings{"a", "-", "-", "b", "-"}));
  EXPECT_EQ(CutBy("-", kMergedWithPrevious, "a--b-"), (Strings{"a-", "-", "b-"}));
  EXPECT_EQ(CutBy("-", kMergedWithNext, "a--b-"), (Strings{"a", "-", "-b", "-"}));
  EXPECT_EQ(CutBy("-", kContiguous, "a--b-"), (Strings{"a", "--", "b", "-"}));
  EXPECT_EQ(CutBy("\\w+", kRemoved, "a, b", true), (Strings{"a", "b"}));
  EXPECT_EQ(CutBy("-", kIsolated, ""), Strings{});
  EXPECT_EQ(Cut(*MakeLiteralSplit("ab", kMergedWithNext, false), "xababy"),
            (Strings{"x", "ab", "aby"}));
}

TEST(PreTokenizer, EmptyMatchesEnd) {
  EXPECT_EQ(CutBy("(?=b)", SplitBehavior::kIsolated, "ab\xC3\xA9"), (Strings{"a", "b\xC3\xA9"}));
  EXPECT_EQ(CutBy("x*", SplitBehavior::kRemoved, "ab"), (Strings{"a", "b"}));
}

TEST(PreTokenizer, CharacterKinds) {
  const auto digits = MakeCharacterSplit(CharacterKind::kDigit, SplitBehavior::kIsolated);
  EXPECT_EQ(Cut(*digits, "a12\xC2\xBD"), (Strings{"a", "1", "2", "\xC2\xBD"}));
  const auto signs = MakeCharacterSplit(CharacterKind::kPunctuation, SplitBehavior::kContiguous);
  EXPECT_EQ(Cut(*signs, "a$!\xE3\x80\x82z"), (Strings{"a", "$!\xE3\x80\x82", "z"}));
  const auto blanks = MakeCharacterSplit(CharacterKind::kWhitespace, SplitBehavior::kRemoved);
  EXPECT_EQ(Cut(*blanks, " a \n b"), (Strings{"a", "b"}));
  EXPECT_EQ(Cut(*MakeWordSplit(), "it's 4_u!!"), (Strings{"it", "'", "s", "4_u", "!!"}));
}

TEST(PreTokenizer, ByteLevelSpellsBytesUnlessLast) {
  EXPECT_EQ(Cut(*MakeByteLevel(true, true, true), "a b"), (Strings{" a", " b"}));
  EXPECT_EQ(Cut(*MakeByteLevel(false, true, false), "a b"), (Strings{"a",
                                                                     "\xC4\xA0"
                                                                     "b"}));
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(byte_level::Decode(byte_level::Encode(all)), all);
  EXPECT_EQ(byte_level::Decode("\xE4\xB8\xAD"), std::nullopt);
}

TEST(PreTokenizer, MetaspacePrependsWhereAsked) {
  const std::string mark = "\xE2\x96\x81";
  const auto always = MakeMetaspace(mark, PrependScheme::kAlways, true);
  const auto first = MakeMetaspace(mark, PrependScheme::kFirst, false);
  const auto never = MakeMetaspace(mark, PrependScheme::kNever, false);
  EXPECT_EQ(Cut(*always, "a b"), (Strings{mark + "a", mark + "b"}));
  EXPECT_EQ(Cut(*always, " a"), Strings{mark + "a"});
  EXPECT_EQ(Cut(*first, "a b"), Strings{mark + "a" + mark + "b"});
  EXPECT_EQ(Cut(*first, "a", false), Strings{"a"});
  EXPECT_EQ(Cut(*never, "a b"), Strings{"a" + mark + "b"});
}

TEST(Regex, RefusesWhatItCannotDo) {
  EXPECT_FALSE(Regex::Compile("(unclosed"));
  EXPECT_FALSE(Regex::Compile("[a-z&&[^b]]"));
  EXPECT_FALSE(Regex::Compile(std::string(100'000, 'a')));
}

TEST(Regex, EndlessBacktrackingIsAnError) {
  const auto regex = Regex::Compile("^(a|aa)+$");
  ASSERT_TRUE(regex);
  const auto match = regex->Find(std::string(200, 'a') + "b", 0);
  ASSERT_FALSE(match);
  EXPECT_EQ(match.error().code, ErrorCode::kInvalidArgument);
}

TEST(Regex, LongRunsNeedNoStack) {
  const auto regex = Regex::Compile("(?:\\p{L}\\p{M}*)+");
  ASSERT_TRUE(regex);
  const std::string text(2'000'000, 'a');
  const auto match = regex->Find(text, 0);
  ASSERT_TRUE(match) << match.error().message;
  ASSERT_TRUE(*match);
  EXPECT_EQ((*match)->end, text.size());
}

}  // namespace
}  // namespace slipstream
