// Damaged files of every kind: whatever byte is wrong, opening returns a value or an Error and
// reading what it returns stays inside the file. Meaningful above all under AddressSanitizer.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "loader/checkpoint.h"
#include "loader/gguf_config.h"
#include "loader/hf_config.h"
#include "loader/mapped_file.h"
#include "loader/safetensors.h"
#include "tests/loader/gguf_writer.h"
#include "tests/loader/safetensors_writer.h"
#include "tests/loader/temp_dir.h"

namespace slipstream {
namespace {

void ExpectOneLine(const Error& error) {
  EXPECT_FALSE(error.message.empty());
  EXPECT_EQ(error.message.find('\n'), std::string::npos);
}

// Reads everything that was promised.
template <typename Tensors>
void Touch(const Tensors& tensors) {
  unsigned sum = 0;
  for (const auto& t : tensors) {
    const auto* data = static_cast<const unsigned char*>(t.data);
    for (size_t i = 0; i < t.bytes; ++i) sum += data[i];
  }
  volatile unsigned sink = sum;
  (void)sink;
}

// From memory of exactly the file's size, so that AddressSanitizer sees a byte too far.
void ExerciseGguf(const std::string& bytes) {
  const std::vector<char> exact(bytes.begin(), bytes.end());
  const auto file = GgufFile::Parse("m.gguf", {exact.data(), exact.size()});
  if (!file) return ExpectOneLine(file.error());
  Touch(file->tensors());
  for (const auto& [key, value] : file->metadata()) {
    (void)file->Int(key);
    (void)file->Float(key);
    (void)file->Strings(key);
    (void)file->Ints(key);
    (void)file->Floats(key);
  }
  const auto config = GgufModelConfig(*file);
  if (!config) ExpectOneLine(config.error());
}

void ExerciseSafetensors(const std::string& bytes) {
  const std::vector<char> exact(bytes.begin(), bytes.end());
  const auto file = SafetensorsFile::Parse("m.safetensors", {exact.data(), exact.size()});
  if (!file) return ExpectOneLine(file.error());
  Touch(file->tensors());
}

std::string GoodGguf() {
  GgufWriter w = SmallGguf("llama");
  w.Texts("tokenizer.ggml.tokens", {"a", "b", "<|im_end|>"});
  w.I32s("tokenizer.ggml.token_type", {1, 1, 3});
  return w.Build();
}

// Values that find edges: all bits, sign, one more, one less, a bit each.
std::vector<unsigned char> Edits(unsigned char byte) {
  std::vector<unsigned char> out = {0, 1, 0x7f, 0x80, 0xff};
  out.push_back(static_cast<unsigned char>(byte + 1));
  out.push_back(static_cast<unsigned char>(byte - 1));
  for (int bit = 0; bit < 8; ++bit) out.push_back(static_cast<unsigned char>(byte ^ (1 << bit)));
  return out;
}

TEST(Corruption, GgufWithAnyByteWrong) {
  const std::string good = GoodGguf();
  for (size_t i = 0; i < good.size(); ++i) {
    for (const unsigned char edit : Edits(static_cast<unsigned char>(good[i]))) {
      std::string bad = good;
      bad[i] = static_cast<char>(edit);
      ExerciseGguf(bad);
    }
  }
}

TEST(Corruption, GgufTruncatedAnywhere) {
  const TempDir dir;
  const std::string good = GoodGguf();
  ASSERT_TRUE(OpenCheckpoint(dir.Write("m.gguf", good)));
  for (size_t n = 0; n < good.size(); n += 7) {
    const std::string path = dir.Write("m.gguf", good.substr(0, n));
    EXPECT_FALSE(OpenCheckpoint(path)) << n;
  }
}

TEST(Corruption, SafetensorsWithAnyByteWrong) {
  SafetensorsWriter w;
  w.Floats("model.norm.weight", {8}, 1).Add("h", "F16", {3}, "abcdef").Floats("b", {2, 2}, 3);
  const std::string good = w.Build();
  ASSERT_TRUE(SafetensorsFile::Parse("m", good));
  for (size_t i = 0; i < good.size(); ++i) {
    for (const unsigned char edit : Edits(static_cast<unsigned char>(good[i]))) {
      std::string bad = good;
      bad[i] = static_cast<char>(edit);
      ExerciseSafetensors(bad);
    }
  }
}

TEST(Corruption, SafetensorsTruncatedAnywhere) {
  const std::string good = SafetensorsWriter().Floats("model.norm.weight", {8}, 1).Build();
  ASSERT_TRUE(SafetensorsFile::Parse("m", good));
  for (size_t n = 0; n < good.size(); ++n) {
    const std::vector<char> part(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_FALSE(SafetensorsFile::Parse("m", {part.data(), part.size()})) << n;
  }
}

TEST(Corruption, ConfigWithAnyByteWrong) {
  const TempDir dir;
  const std::string good = SmallLlamaConfig(
      R"(, "rope_scaling": {"type": "yarn", "factor": 2.0}, "eos_token_id": [1, 2])");
  ASSERT_TRUE(ReadHfConfig(dir.Write("config.json", good)));
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char edit : {'\0', '9', '"', '}', '\xff'}) {
      std::string bad = good;
      bad[i] = edit;
      const auto config = ReadHfConfig(dir.Write("config.json", bad));
      if (!config) ExpectOneLine(config.error());
    }
  }
}

TEST(Corruption, AFileCutOffUnderItsReaderIsNamed) {
  const TempDir dir;
  const std::string path = dir.Write("cut.bin", std::string(1 << 20, 'x'));
  const auto read_cut_file = [&] {
    const auto file = MappedFile::Open(path);
    std::filesystem::resize_file(path, 10);
    volatile char last = file->bytes().back();
    (void)last;
  };
  EXPECT_EXIT(read_cut_file(), ::testing::ExitedWithCode(1), "error: .*cut.bin: cannot be read");
}

}  // namespace
}  // namespace slipstream
