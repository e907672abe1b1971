#include "tokenizer/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace slipstream {
namespace {

struct Seen {
  std::string text;
  std::optional<int> stopped;
};

Seen Feed(const std::vector<std::string>& stops, bool include_stop,
          const std::vector<std::string>& chunks) {
  StopMatcher matcher(stops, include_stop);
  Seen seen;
  for (const std::string& chunk : chunks) {
    StopMatcher::Output output = matcher.Push(chunk);
    seen.text += output.text;
    if (output.stopped) seen.stopped = output.stopped;
  }
  seen.text += matcher.Flush();
  EXPECT_EQ(matcher.stopped(), seen.stopped.has_value());
  return seen;
}

// The match that ends first; of those that end together the longest.
Seen Plain(const std::vector<std::string>& stops, bool include_stop, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    int best = -1;
    for (size_t i = 0; i < stops.size(); ++i) {
      if (stops[i].empty() || !std::string_view(text).substr(0, end).ends_with(stops[i])) continue;
      if (best < 0 || stops[i].size() > stops[best].size()) best = static_cast<int>(i);
    }
    if (best >= 0) {
      return {text.substr(0, include_stop ? end : end - stops[best].size()), best};
    }
  }
  return {text, std::nullopt};
}

TEST(StopMatcher, HoldsBackWhatMayBeAStop) {
  StopMatcher matcher({"END", "\n\n"}, false);
  EXPECT_EQ(matcher.Push("abcE").text, "abc");
  EXPECT_EQ(matcher.Push("Nx").text, "ENx");
  EXPECT_EQ(matcher.Push("\n").text, "");
  const StopMatcher::Output output = matcher.Push("\nmore");
  EXPECT_EQ(output.text, "");
  EXPECT_EQ(output.stopped, 1);
  EXPECT_EQ(matcher.Push("ignored").text, "");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, IncludesTheStopOnRequest) {
  const Seen seen = Feed({"END"}, true, {"a E", "N", "D b"});
  EXPECT_EQ(seen.text, "a END");
  EXPECT_EQ(seen.stopped, 0);
}

TEST(StopMatcher, NoStopsHoldNothing) {
  StopMatcher matcher({"", ""}, false);
  EXPECT_EQ(matcher.Push("text").text, "text");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, NeverSplitsCharacters) {
  StopMatcher matcher({"\xC3\xA9!"}, false);
  EXPECT_EQ(matcher.Push("\xC3\xA8").text, "\xC3\xA8");
  EXPECT_EQ(matcher.Push("\xC3\xA9").text, "");
  EXPECT_EQ(matcher.Push("\xC3\xA8").text, "\xC3\xA9\xC3\xA8");
}

TEST(StopMatcher, EqualsThePlainSearchHoweverTheTextIsCut) {
  std::mt19937 random(17);
  const auto word = [&](size_t most) {
    std::string text;
    for (size_t n = 1 + random() % most; n > 0; --n) text.push_back("ab"[random() % 2]);
    return text;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (size_t n = random() % 4; n > 0; --n) stops.push_back(word(6));
    const std::string text = word(24);
    const bool include_stop = random() % 2 == 0;
    std::vector<std::string> chunks;
    for (size_t pos = 0; pos < text.size();) {
      chunks.push_back(text.substr(pos, random() % 4));
      pos += chunks.back().size();
    }
    const Seen expected = Plain(stops, include_stop, text);
    const Seen got = Feed(stops, include_stop, chunks);
    ASSERT_EQ(got.text, expected.text) << testing::PrintToString(stops) << " in " << text;
    // The same stop string may be listed twice.
    ASSERT_EQ(got.stopped.has_value(), expected.stopped.has_value());
    if (got.stopped) {
      ASSERT_EQ(stops[*got.stopped], stops[*expected.stopped]);
    }
  }
}

}  // namespace
}  // namespace slipstream
