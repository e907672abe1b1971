#include "tokenizer/detokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

class FakeTokenizer final : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> texts, std::vector<uint8_t> special = {},
                         bool strip = false, bool each = false) {
    table_.bytes = std::move(texts);
    table_.special = std::move(special);
    table_.special.resize(table_.bytes.size());
    table_.strip_leading_space = strip;
    table_.replace_each_bad_byte = each;
  }
  Result<std::vector<int32_t>> Encode(std::string_view, EncodeOptions) const override {
    return std::vector<int32_t>();
  }
};

std::shared_ptr<const Tokenizer> Bytes(bool each) {
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  return std::make_shared<FakeTokenizer>(texts, std::vector<uint8_t>(), false, each);
}

TEST(Detokenizer, HoldsUnfinishedCharacters) {
  Detokenizer detokenizer(Bytes(false));
  EXPECT_EQ(detokenizer.Push(0xE4), "");
  EXPECT_TRUE(detokenizer.holds_bytes());
  EXPECT_EQ(detokenizer.Push(0xB8), "");
  EXPECT_EQ(detokenizer.Push(0xAD), "\xE4\xB8\xAD");
  EXPECT_EQ(detokenizer.Push('a'), "a");
  EXPECT_EQ(detokenizer.Push(0xF0), "");
  EXPECT_EQ(detokenizer.Push('b'), std::string(unicode::kReplacement) + "b");
  EXPECT_EQ(detokenizer.Push(0xC3), "");
  EXPECT_EQ(detokenizer.Flush(), unicode::kReplacement);
  EXPECT_EQ(detokenizer.Flush(), "");
}

// Random bytes in random tokens: what is pushed is valid and, joined, the text of all bytes.
TEST(Detokenizer, JoinedPiecesAreTheWholeText) {
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> texts;
    std::string all;
    for (size_t n = random() % 12; n > 0; --n) {
      std::string text;
      for (size_t k = random() % 5; k > 0; --k) {
        static const std::string kBytes = "a\x80\xBF\xC3\xE4\xB8\xAD\xED\xA0\xF0\x9F\x98\xFF";
        text.push_back(kBytes[random() % kBytes.size()]);
      }
      all += text;
      texts.push_back(text);
    }
    const auto tokenizer = std::make_shared<FakeTokenizer>(texts);
    Detokenizer detokenizer(tokenizer);
    std::string joined;
    std::vector<int32_t> ids;
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string piece = detokenizer.Push(static_cast<int32_t>(i));
      ASSERT_TRUE(unicode::IsValid(piece));
      joined += piece;
      ids.push_back(static_cast<int32_t>(i));
    }
    joined += detokenizer.Flush();
    ASSERT_EQ(joined, unicode::ReplaceBroken(all)) << testing::PrintToString(all);
    ASSERT_EQ(Decode(tokenizer, ids), joined);
  }
}

TEST(Detokenizer, ByteFallbackReplacesEachByte) {
  const std::string r(unicode::kReplacement);
  const std::vector<int32_t> ids = {0xE4, 0xB8, 'a', 0xF0, 0x9F, 0x98};
  EXPECT_EQ(Decode(Bytes(true), ids), r + r + "a" + r + r + r);
  EXPECT_EQ(Decode(Bytes(false), ids), r + "a" + r);
}

TEST(Detokenizer, SkipsSpecialTokensOnRequest) {
  const auto tokenizer = std::make_shared<FakeTokenizer>(
      std::vector<std::string>{"<s>", "hi", "</s>"}, std::vector<uint8_t>{1, 0, 1});
  const std::vector<int32_t> ids = {0, 1, 2, -1, 99};
  EXPECT_EQ(Decode(tokenizer, ids), "hi");
  EXPECT_EQ(Decode(tokenizer, ids, {.skip_special_tokens = false}), "<s>hi</s>");
}

TEST(Detokenizer, DropsOneBlankAtTheStartOfAText) {
  const auto tokenizer = std::make_shared<FakeTokenizer>(
      std::vector<std::string>{"<s>", " hi", " "}, std::vector<uint8_t>{1, 0, 0}, true);
  EXPECT_EQ(Decode(tokenizer, std::vector<int32_t>{0, 1, 1}), "hi hi");
  EXPECT_EQ(Decode(tokenizer, std::vector<int32_t>{2, 1}), " hi");
  EXPECT_EQ(Decode(tokenizer, std::vector<int32_t>{1}, {.at_text_start = false}), " hi");
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.Push(1), "hi");
  EXPECT_EQ(detokenizer.Flush(), "");
  EXPECT_EQ(detokenizer.Push(1), "hi") << "after Flush a new text starts";
}

}  // namespace
}  // namespace slipstream
