// Malformed vocabularies: one clear error, never a crash, whatever the file holds.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>

#include "tokenizer/detokenizer.h"
#include "tokenizer/pipeline_tokenizer.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

using nlohmann::json;

json SmallJson() {
  return json::parse(R"({
    "version": "1.0",
    "added_tokens": [{"id": 6, "content": "<s>", "special": true, "normalized": false},
                     {"id": 7, "content": "wow", "special": false, "lstrip": true, "rstrip": true,
                      "single_word": true, "normalized": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
      {"type": "Replace", "pattern": {"Regex": "x+"}, "content": "a"},
      {"type": "Strip", "strip_left": true, "strip_right": false}, {"type": "Lowercase"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Removed", "invert": false},
      {"type": "Digits", "individual_digits": true},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "unk_token": "?", "fuse_unk": false, "byte_fallback": false,
      "vocab": {"a": 0, "b": 1, "c": 2, "?": 3, "ab": 4, "abc": 5},
      "merges": ["a b", ["ab", "c"]]}})");
}

using Ids = std::vector<int32_t>;

TEST(TokenizerJson, RunsEveryPart) {
  auto parsed = ParseTokenizerJson(SmallJson().dump());
  ASSERT_TRUE(parsed) << parsed.error().message;
  const PipelineTokenizer tokenizer(std::move(parsed->table), std::move(parsed->pipeline));
  EXPECT_EQ(*tokenizer.Encode("  ABC xb", {}), (Ids{6, 5, 4}));
  EXPECT_EQ(*tokenizer.Encode("a wow b", {.add_special_tokens = false}), (Ids{0, 7, 1}));
  EXPECT_EQ(*tokenizer.Encode("awow", {.add_special_tokens = false}), (Ids{0, 3, 3, 3}));
  EXPECT_EQ(*tokenizer.Encode("<s>b", {.add_special_tokens = false, .parse_special = true}),
            (Ids{6, 1}));
  EXPECT_EQ(tokenizer.Encode("<s>b", {.add_special_tokens = false})->size(), 4u);
  EXPECT_EQ(*tokenizer.Encode("", {}), Ids{6});
  EXPECT_EQ(tokenizer.FindToken("abc"), 5);
  EXPECT_EQ(tokenizer.FindToken("nothing"), std::nullopt);
  EXPECT_TRUE(tokenizer.IsSpecial(6));
  EXPECT_FALSE(tokenizer.IsSpecial(7));
  EXPECT_FALSE(tokenizer.IsSpecial(-1));
  EXPECT_EQ(tokenizer.TokenBytes(1000), "");
}

TEST(TokenizerJson, TooMuchTextIsAnError) {
  auto parsed = ParseTokenizerJson(SmallJson().dump());
  ASSERT_TRUE(parsed);
  const PipelineTokenizer tokenizer(std::move(parsed->table), std::move(parsed->pipeline));
  const auto ids = tokenizer.Encode(std::string(Tokenizer::kMaxEncodeBytes + 1, 'a'), {});
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
}

void ExpectError(const std::string& text, const std::string& part) {
  const auto parsed = ParseTokenizerJson(text);
  ASSERT_FALSE(parsed) << text.substr(0, 200);
  EXPECT_NE(parsed.error().message.find(part), std::string::npos) << parsed.error().message;
}

void ExpectErrorWith(const char* pointer, const json& value, const std::string& part) {
  json root = SmallJson();
  root[json::json_pointer(pointer)] = value;
  ExpectError(root.dump(), part);
}

TEST(TokenizerJson, NamesWhatIsWrong) {
  ExpectError("", "parse error");
  ExpectError("{\"model\": ", "parse error");
  ExpectError("[]", "not a JSON object");
  ExpectError("{}", "model");
  ExpectErrorWith("/model/type", "WordPiece", "WordPiece");
  ExpectErrorWith("/model/vocab", json::object(), "model.vocab: is empty");
  ExpectErrorWith("/model/vocab", json::array(), "model.vocab");
  ExpectErrorWith("/model/vocab/a", -1, "\"a\"");
  ExpectErrorWith("/model/vocab/a", 1.5, "\"a\"");
  ExpectErrorWith("/model/vocab/a", 4000000000u, "\"a\"");
  ExpectErrorWith("/model/vocab/a", 18446744073709551615u, "\"a\"");
  ExpectErrorWith("/model/vocab/a", 16000000, "\"a\" has the id 16000000");
  ExpectErrorWith("/model/merges/0", "ab", "merge 0");
  ExpectErrorWith("/model/merges/0", 7, "type");
  ExpectErrorWith("/model/end_of_word_suffix", "</w>", "end_of_word_suffix");
  ExpectErrorWith("/added_tokens/0/id", 16000000, "\"<s>\"");
  ExpectErrorWith("/added_tokens/0/content", 3, "type");
  ExpectErrorWith("/normalizer/normalizers/0/type", "Precompiled", "normalizer: the step");
  ExpectErrorWith("/normalizer/normalizers/1/pattern/Regex", "(", "normalizer: the pattern");
  ExpectErrorWith("/pre_tokenizer/pretokenizers/0/behavior", "Sideways", "Sideways");
  ExpectErrorWith("/pre_tokenizer/pretokenizers/0/type", "UnicodeScripts", "pre_tokenizer");
  ExpectErrorWith("/post_processor/single/0/SpecialToken/id", "<x>", "post_processor: \"<x>\"");
  ExpectErrorWith("/post_processor/special_tokens/<s>/ids/0", 99, "post_processor: id 99");
  ExpectErrorWith("/decoder/type", "CTC", "decoder: the step \"CTC\"");
}

std::string Repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(TokenizerJson, DeepNestingIsNoBomb) {
  ExpectError(std::string(2'000'000, '['), "parse error");
  ExpectError("{\"model\": " + Repeat("[", 200'000) + Repeat("]", 200'000) + "}", "");
  const std::pair<const char*, const char*> lists[] = {{"normalizer", "normalizers"},
                                                       {"pre_tokenizer", "pretokenizers"},
                                                       {"post_processor", "processors"},
                                                       {"decoder", "decoders"}};
  for (const auto& [part, list] : lists) {
    json root = SmallJson();
    root[part] = "HERE";
    std::string text = root.dump();
    const std::string open = "{\"type\":\"Sequence\",\"" + std::string(list) + "\":[";
    text.replace(text.find("\"HERE\""), 6, Repeat(open, 100'000) + Repeat("]}", 100'000));
    ExpectError(text, part);
  }
}

// Values of the file replaced at random by others: parsed or refused, and if parsed, usable.
TEST(TokenizerJson, NormalizersThatGrowWithoutEndAreStopped) {
  const std::string thousand(1000, 'a');
  for (const char* kind : {"String", "Regex"}) {
    json steps = json::array();
    for (int i = 0; i < 5; ++i) {
      steps.push_back({{"type", "Replace"}, {"pattern", {{kind, "a"}}}, {"content", thousand}});
    }
    json file = SmallJson();
    file["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
    auto parsed = ParseTokenizerJson(file.dump());
    ASSERT_TRUE(parsed) << parsed.error().message;
    const PipelineTokenizer tokenizer(std::move(parsed->table), std::move(parsed->pipeline));
    const auto ids = tokenizer.Encode(std::string(1000, 'a'), {});
    ASSERT_FALSE(ids) << kind;
    EXPECT_NE(ids.error().message.find("too long"), std::string::npos) << ids.error().message;
  }
}

TEST(TokenizerJson, RandomDamageNeverCrashes) {
  std::mt19937 random(23);
  const json values = json::parse(
      R"([null, true, -1, 0, 7, 1e300, 99999999999, "", "a b", "\u0000", "(", [], {}, [0], [[]],
          {"type": "Sequence"}, {"Regex": "a*"}, {"type": "ByteLevel"}, "x", "Metaspace", "Unigram"])");
  const json flat = SmallJson().flatten();
  std::vector<std::string> pointers;
  for (const auto& [pointer, value] : flat.items()) {
    for (size_t end = pointer.find('/', 1);; end = pointer.find('/', end + 1)) {
      pointers.push_back(pointer.substr(0, end));
      if (end == std::string::npos) break;
    }
  }
  int parsed_count = 0;
  for (int round = 0; round < 4000; ++round) {
    json root = SmallJson();
    for (size_t n = 1 + random() % 3; n > 0; --n) {
      try {
        root[json::json_pointer(pointers[random() % pointers.size()])] =
            values[random() % values.size()];
      } catch (const json::exception&) {  // an earlier change took the place away
      }
    }
    std::string text = root.dump();
    if (round % 4 == 0) text[random() % text.size()] = static_cast<char>(random());
    auto parsed = ParseTokenizerJson(text);
    if (!parsed) {
      EXPECT_FALSE(parsed.error().message.empty());
      continue;
    }
    ++parsed_count;
    const auto tokenizer =
        std::make_shared<PipelineTokenizer>(std::move(parsed->table), std::move(parsed->pipeline));
    const auto ids =
        tokenizer->Encode("ab wow <s> \xC3\xA9 1\xFF abc  xx\n", {.parse_special = true});
    if (ids) {
      EXPECT_TRUE(unicode::IsValid(Decode(tokenizer, *ids)));
    }
  }
  EXPECT_GT(parsed_count, 100) << "the damage is too great to test anything behind the parser";
}

TEST(TokenizerJson, UnigramFindsTheBestCut) {
  json root = SmallJson();
  root["added_tokens"] = json::array();
  root["normalizer"] = nullptr;
  root["pre_tokenizer"] = nullptr;
  root["post_processor"] = nullptr;
  root["decoder"] = nullptr;
  root["model"] = json::parse(R"({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0],
    ["a", -1.0], ["b", -1.5], ["ab", -3.0], ["abb", -2.0], ["bb", -2.9]]})");
  auto parsed = ParseTokenizerJson(root.dump());
  ASSERT_TRUE(parsed) << parsed.error().message;
  const PipelineTokenizer tokenizer(std::move(parsed->table), std::move(parsed->pipeline));
  EXPECT_EQ(*tokenizer.Encode("ab", {}), (Ids{1, 2}));
  EXPECT_EQ(*tokenizer.Encode("abb", {}), Ids{4});
  EXPECT_EQ(*tokenizer.Encode("axyb", {}), (Ids{1, 0, 2}));
}

GgufVocab SmallVocab() {
  GgufVocab vocab;
  vocab.model = "gpt2";
  vocab.pre = "gpt-2";
  vocab.tokens = {"a", "b", "ab", "<|endoftext|>", "\xFF"};
  vocab.token_types = {1, 1, 1, 3, 1};
  vocab.merges = {"a b"};
  vocab.bos_id = vocab.eos_id = 3;
  return vocab;
}

template <typename Change>
std::string ErrorOf(Change change) {
  GgufVocab vocab = SmallVocab();
  change(vocab);
  const auto tokenizer = MakeTokenizerFromGguf(vocab);
  return tokenizer ? "" : tokenizer.error().message;
}

TEST(GgufVocab, NamesWhatIsWrong) {
  EXPECT_EQ(ErrorOf([](GgufVocab&) {}), "");
  const auto has = [](const std::string& error, const char* part) {
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  has(ErrorOf([](auto& v) { v.model = "bert"; }), "\"bert\"");
  has(ErrorOf([](auto& v) { v.pre = "unheard-of"; }), "\"unheard-of\"");
  has(ErrorOf([](auto& v) { v.tokens.clear(); }), "tokenizer.ggml.tokens");
  has(ErrorOf([](auto& v) { v.token_types.pop_back(); }), "tokenizer.ggml.token_type");
  has(ErrorOf([](auto& v) { v.scores = {1.0f}; }), "tokenizer.ggml.scores");
  has(ErrorOf([](auto& v) { v.merges.clear(); }), "tokenizer.ggml.merges");
  has(ErrorOf([](auto& v) { v.merges = {"ab"}; }), "\"ab\"");
  has(ErrorOf([](auto& v) { v.merges = {"a "}; }), "\"a \"");
  has(ErrorOf([](auto& v) { v.eos_id = 5; }), "tokenizer.ggml.eos_token_id: id 5");
  has(ErrorOf([](auto& v) { v.bos_id = -7; }), "tokenizer.ggml.bos_token_id");
}

TEST(GgufVocab, OddTokensAreHarmless) {
  GgufVocab vocab = SmallVocab();
  vocab.model = "llama";
  vocab.tokens = {"<unk>", "\xE2\x96\x81", "\xE2\x96\x81x", "x", "\xFF\xE2",
                  "",      "<0xZZ>",       "<0x41>"};
  vocab.token_types = {2, 1, 1, 1, 1, 1, 6, 6};
  vocab.scores = {0, NAN, -1, INFINITY, 0, 0, 0, 0};
  vocab.bos_id = vocab.eos_id = 0;
  const auto tokenizer = MakeTokenizerFromGguf(vocab);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const auto ids = (*tokenizer)->Encode("x xA\xFF", {.add_special_tokens = false});
  ASSERT_TRUE(ids);
  EXPECT_EQ((*ids)[0], 2);
  EXPECT_TRUE(unicode::IsValid(Decode(*tokenizer, std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7})));
}

class HfFolder : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("slipstream-bad-vocabulary-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string Error() {
    const auto tokenizer = MakeTokenizerFromHfFolder(folder_.string());
    return tokenizer ? "" : tokenizer.error().message;
  }
  std::filesystem::path folder_;
};

TEST_F(HfFolder, ErrorsNameTheFile) {
  EXPECT_NE(Error().find("neither tokenizer.json nor tokenizer.model"), std::string::npos);
  Write("tokenizer.model", "no model at all");
  EXPECT_NE(Error().find("tokenizer.model: not a SentencePiece model"), std::string::npos)
      << Error();
  Write("tokenizer.json", "{");
  EXPECT_NE(Error().find("tokenizer.json: "), std::string::npos) << Error();
  Write("tokenizer.json", SmallJson().dump());
  EXPECT_EQ(Error(), "");
  Write("tokenizer_config.json", "[1]");
  EXPECT_NE(Error().find("tokenizer_config.json"), std::string::npos) << Error();
}

TEST_F(HfFolder, TakesSpecialTokensAndTemplate) {
  Write("tokenizer.json", SmallJson().dump());
  Write("tokenizer_config.json",
        R"({"bos_token": {"content": "<s>"}, "eos_token": "abc", "chat_template":
            [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  Write("generation_config.json", R"({"eos_token_id": [2, 1, 4000000000, -1, "x"]})");
  auto tokenizer = MakeTokenizerFromHfFolder(folder_.string());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->bos_token(), "<s>");
  EXPECT_EQ((*tokenizer)->eos_id(), 5);
  EXPECT_EQ((*tokenizer)->eog_ids(), (Ids{1, 2, 5}));
  EXPECT_EQ((*tokenizer)->chat_template(), "D");
  Write("chat_template.jinja", "J");
  tokenizer = MakeTokenizerFromHfFolder(folder_.string());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ((*tokenizer)->chat_template(), "J");
}

TEST_F(HfFolder, FlagsOfLlamaClassesDecideBorders) {
  Write("tokenizer.json", SmallJson().dump());
  Write("tokenizer_config.json",
        R"({"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "abc",
            "add_bos_token": false, "add_eos_token": true})");
  const auto tokenizer = MakeTokenizerFromHfFolder(folder_.string());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(*(*tokenizer)->Encode("a"), (Ids{0, 5}));
}

}  // namespace
}  // namespace slipstream
