// Ids equal those that llama.cpp ships with its vocabulary-only GGUF files: texts in <file>.inp,
// ids in <file>.out.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "loader/gguf.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> SplitBy(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t from = 0;
  for (size_t at = text.find(separator); at != std::string::npos; at = text.find(separator, from)) {
    parts.push_back(text.substr(from, at - from));
    from = at + separator.size();
  }
  parts.push_back(text.substr(from));
  return parts;
}

class GgufVocabFiles : public testing::TestWithParam<const char*> {};

TEST_P(GgufVocabFiles, IdsEqualLlamaCpp) {
  const char* folder = std::getenv("SLIPSTREAM_GGUF_VOCABS");
  ASSERT_NE(folder, nullptr);
  const std::string path = std::string(folder) + "/ggml-vocab-" + GetParam() + ".gguf";
  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file) << file.error().message;
  const auto vocab = ReadGgufVocab(*file);
  ASSERT_TRUE(vocab) << vocab.error().message;
  const auto tokenizer = MakeTokenizerFromGguf(*vocab);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;

  const auto texts = SplitBy(ReadFile(path + ".inp"), "\n__ggml_vocab_test__\n");
  const auto lines = SplitBy(ReadFile(path + ".out"), "\n");
  ASSERT_GT(texts.size(), 40u);
  ASSERT_GE(lines.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    std::istringstream line(lines[i]);
    std::vector<int32_t> expected;
    for (int32_t id; line >> id;) expected.push_back(id);
    const auto ids = (*tokenizer)->Encode(texts[i], {.add_special_tokens = false});
    ASSERT_TRUE(ids) << ids.error().message;
    EXPECT_EQ(*ids, expected) << "text " << i << ": \"" << texts[i] << '"';
    EXPECT_EQ(Decode(*tokenizer, *ids), texts[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GgufVocabFiles,
                         testing::Values("llama-bpe", "llama-spm", "phi-3", "qwen2", "qwen35",
                                         "gpt-2", "deepseek-llm", "deepseek-coder", "falcon",
                                         "command-r", "starcoder", "refact", "mpt", "gemma-4"));

}  // namespace
}  // namespace slipstream
