#include "tokenizer/byte_bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/byte_level.h"

namespace slipstream {
namespace {

using Ids = std::vector<int32_t>;

constexpr const char* kBlank = "\xE2\x96\x81";

// A vocabulary over few symbols with random merges, and the plainest way to apply them.
struct RandomBpe {
  TokenIds ids;
  std::vector<std::string> texts;
  std::vector<std::pair<std::string, std::string>> pairs;
  std::map<std::pair<std::string, std::string>, int> ranks;

  RandomBpe(std::mt19937& random, std::vector<std::string> alphabet, int merges) {
    for (const auto& text : alphabet) Add(text);
    for (int i = 0; i < merges; ++i) {
      const std::string left = texts[random() % texts.size()];
      const std::string right = texts[random() % texts.size()];
      if (!ranks.emplace(std::pair(left, right), static_cast<int>(pairs.size())).second) continue;
      pairs.emplace_back(left, right);
      Add(left + right);
    }
  }

  void Add(const std::string& text) {
    if (ids.emplace(text, static_cast<int32_t>(texts.size())).second) texts.push_back(text);
  }

  std::unique_ptr<ByteBpe> Make(BpeOptions options = {}) const {
    std::vector<ByteBpe::MergeRule> rules;
    for (size_t i = 0; i < pairs.size(); ++i) {
      rules.push_back({pairs[i].first, pairs[i].second, static_cast<int32_t>(i)});
    }
    return std::make_unique<ByteBpe>(ids, std::vector<bool>(texts.size(), true), rules, options);
  }

  Ids Naive(std::vector<std::string> symbols) const {
    while (true) {
      int best = -1, best_rank = 0;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto it = ranks.find({symbols[i], symbols[i + 1]});
        if (it != ranks.end() && (best < 0 || it->second < best_rank)) {
          best = static_cast<int>(i);
          best_rank = it->second;
        }
      }
      if (best < 0) break;
      symbols[best] += symbols[best + 1];
      symbols.erase(symbols.begin() + best + 1);
    }
    Ids out;
    for (const auto& symbol : symbols) out.push_back(ids.find(symbol)->second);
    return out;
  }
};

TEST(ByteBpe, EqualsThePlainAlgorithm) {
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    const RandomBpe bpe(random, {"a", "b", "c", "d"}, 40);
    const auto model = bpe.Make();
    for (int i = 0; i < 60; ++i) {
      std::vector<std::string> symbols;
      std::string text;
      // Lengths on both sides of the border between scan and heap, and of what the cache keeps.
      for (size_t n = 1 + random() % (i % 2 == 0 ? 30 : 120); n > 0; --n) {
        symbols.emplace_back(1, static_cast<char>('a' + random() % 4));
        text += symbols.back();
      }
      Ids got, again;
      model->Encode(bpe.ids, text, true, got);
      ASSERT_EQ(got, bpe.Naive(symbols)) << text;
      model->Encode(bpe.ids, text, false, again);
      ASSERT_EQ(again, got) << text;
      model->Encode(bpe.ids, text, true, again);  // from the cache
      got.insert(got.end(), got.begin(), got.end());
      ASSERT_EQ(again, got) << text;
    }
  }
}

// Cutting a text at blanks where no merge reaches across changes nothing.
TEST(ByteBpe, WordCutsChangeNothing) {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    const RandomBpe bpe(random, {"a", "b", kBlank}, 12);
    const auto model = bpe.Make();
    for (int i = 0; i < 40; ++i) {
      std::vector<std::string> symbols;
      std::string text;
      for (size_t n = 1 + random() % 60; n > 0; --n) {
        symbols.push_back(std::vector<std::string>{"a", "b", kBlank}[random() % 3]);
        text += symbols.back();
      }
      Ids got;
      model->Encode(bpe.ids, text, false, got);
      ASSERT_EQ(got, bpe.Naive(symbols)) << text;
    }
  }
}

TEST(ByteBpe, TokenizersDoNotShareWords) {
  std::mt19937 random(1);
  RandomBpe one(random, {"a", "b"}, 0), two(random, {"b", "a"}, 0);
  const auto first = one.Make(), second = two.Make();
  Ids ids;
  first->Encode(one.ids, "ab", true, ids);
  second->Encode(two.ids, "ab", true, ids);
  EXPECT_EQ(ids, (Ids{0, 1, 1, 0}));
}

TEST(ByteBpe, FallsBackToBytesThenToUnknown) {
  TokenIds ids{{"a", 0}, {"<unk>", 1}, {"<0xC3>", 2}, {"<0xA9>", 3}};
  const std::vector<bool> usable(4, true);
  BpeOptions options{.byte_fallback = true, .fuse_unk = true, .unk_id = 1};
  Ids out;
  ByteBpe(ids, usable, {}, options).Encode(ids, "a\xC3\xA9xya", false, out);
  EXPECT_EQ(out, (Ids{0, 2, 3, 1, 0}));
  out.clear();
  options.fuse_unk = false;
  ByteBpe(ids, usable, {}, options).Encode(ids, "xy", false, out);
  EXPECT_EQ(out, (Ids{1, 1}));
  out.clear();
  ByteBpe(ids, usable, {}, {}).Encode(ids, "xay", false, out);
  EXPECT_EQ(out, Ids{0});
}

TEST(ByteBpe, IgnoreMergesTakesWholeWords) {
  TokenIds ids{{"a", 0}, {"b", 1}, {"ab", 2}};
  Ids out;
  ByteBpe(ids, std::vector<bool>(3, true), {}, {}).Encode(ids, "ab", true, out);
  ByteBpe(ids, std::vector<bool>(3, true), {}, {.ignore_merges = true})
      .Encode(ids, "ab", true, out);
  EXPECT_EQ(out, (Ids{0, 1, 2}));
}

TEST(ByteBpe, StepsThatAreNoTokensAreSpelledOut) {
  TokenIds ids{{"a", 0}, {"b", 1}, {"c", 2}, {"abc", 3}};
  const std::vector<ByteBpe::MergeRule> rules = {{"a", "b", 0}, {"ab", "c", 1}};
  const ByteBpe bpe(ids, std::vector<bool>(4, true), rules, {});
  Ids out;
  bpe.Encode(ids, "abc", true, out);
  bpe.Encode(ids, "abb", true, out);
  EXPECT_EQ(out, (Ids{3, 0, 1, 1}));
}

TEST(ByteBpe, TextCannotBecomeUnusableTokens) {
  TokenIds ids{{"a", 0}, {"b", 1}, {"ab", 2}};
  const std::vector<ByteBpe::MergeRule> rules = {{"a", "b", 0}};
  Ids out;
  ByteBpe(ids, {true, true, false}, rules, {}).Encode(ids, "ab", true, out);
  EXPECT_EQ(out, (Ids{0, 1}));
}

}  // namespace
}  // namespace slipstream
