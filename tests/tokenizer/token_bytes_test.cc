// How many bytes of text a token may stand for, and encoding that stops when there are too many.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tokenizer/pipeline_tokenizer.h"
#include "tokenizer/tokenizer_json.h"

namespace slipstream {
namespace {

using nlohmann::json;

// Letters a to c, unknown characters, one merge and one added token.
json Small() {
  return json::parse(R"({
    "added_tokens": [{"id": 5, "content": "<wow>", "special": true, "normalized": false}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "unk_token": "?", "fuse_unk": false, "byte_fallback": false,
      "vocab": {"a": 0, "b": 1, "c": 2, "?": 3, "ab": 4}, "merges": ["a b"]}})");
}

std::shared_ptr<const Tokenizer> Make(const json& description) {
  auto parsed = ParseTokenizerJson(description.dump());
  EXPECT_TRUE(parsed) << parsed.error().message;
  return std::make_shared<PipelineTokenizer>(std::move(parsed->table), std::move(parsed->pipeline));
}

// The most bytes of text behind one token; 0: no limit.
size_t MostBytes(const json& description) {
  constexpr size_t kBytes = 960;  // a multiple of every answer below
  const size_t tokens = Make(description)->MinTokens(std::string(kBytes, 'a'));
  return tokens == 0 ? 0 : kBytes / tokens;
}

TEST(TokenBytes, TheLongestTokenCounts) {
  EXPECT_EQ(MostBytes(Small()), 5u);  // <wow>
  json longer = Small();
  longer["model"]["vocab"]["abababab"] = 6;
  EXPECT_EQ(MostBytes(longer), 8u);
  longer["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(MostBytes(longer), 64u);
  longer["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "xyz"}}}, {"content", "ab"}};
  EXPECT_EQ(MostBytes(longer), 16u);
}

TEST(TokenBytes, ThereIsNoLimitWhereTextMayVanish) {
  const auto expect_none = [](auto change) {
    json description = Small();
    change(description);
    EXPECT_EQ(MostBytes(description), 0u) << description;
  };
  expect_none([](json& d) {
    d["normalizer"] = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
  });
  expect_none([](json& d) { d["normalizer"] = {{"type", "StripAccents"}}; });
  expect_none([](json& d) {
    d["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "x+"}}}, {"content", "a"}};
  });
  expect_none([](json& d) {
    d["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "x"}}}, {"content", ""}};
  });
  expect_none([](json& d) { d["pre_tokenizer"] = {{"type", "WhitespaceSplit"}}; });
  expect_none([](json& d) { d["pre_tokenizer"] = {{"type", "Whitespace"}}; });
  expect_none([](json& d) { d["added_tokens"][0]["rstrip"] = true; });
  expect_none([](json& d) { d["model"]["fuse_unk"] = true; });
  expect_none([](json& d) { d["model"].erase("unk_token"); });
  // "ca" is a step between merges and no token; "d" is not one either.
  expect_none([](json& d) { d["model"]["merges"] = {"c d", "cd a"}; });
}

TEST(TokenBytes, BytesThatVanishDoNotCount) {
  json description = Small();
  description["pre_tokenizer"] = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const auto tokenizer = Make(description);
  EXPECT_EQ(tokenizer->MinTokens("abcabc"), 2u);
  EXPECT_EQ(tokenizer->MinTokens("xyzxyzxyz"), 0u);
  EXPECT_EQ(tokenizer->MinTokens("xaxbxcxxxx"), 1u);
  description["normalizer"] = {{"type", "NFC"}};  // may turn the others into such
  EXPECT_EQ(Make(description)->MinTokens("abcabc"), 0u);
}

TEST(TokenBytes, EncodingStopsWhenThereAreTooManyIds) {
  json description = Small();
  description["pre_tokenizer"] = {{"type", "Digits"}, {"individual_digits", true}};
  const auto tokenizer = Make(description);
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "a1";
  EXPECT_EQ(tokenizer->Encode(text)->size(), 2000u);
  EXPECT_EQ(tokenizer->Encode(text, {.max_tokens = 2000})->size(), 2000u);
  EXPECT_EQ(tokenizer->Encode(text, {.max_tokens = 10})->size(), 11u);
}

}  // namespace
}  // namespace slipstream
