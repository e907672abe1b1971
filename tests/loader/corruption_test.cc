// Damaged files of every kind: whatever byte is wrong, opening returns a value or an Error and
// reading what it returns stays inside the file. Meaningful above all under AddressSanitizer.
#include <gtest/gtest.h>

#include "loader/checkpoint.h"
#include "tests/loader/gguf_writer.h"
#include "tests/loader/safetensors_writer.h"
#include "tests/loader/temp_dir.h"

namespace slipstream {
namespace {

// Opens and, if that worked, touches everything that was promised.
void Exercise(const std::string& path) {
  const auto checkpoint = OpenCheckpoint(path);
  if (!checkpoint) {
    EXPECT_FALSE(checkpoint.error().message.empty());
    EXPECT_EQ(checkpoint.error().message.find('\n'), std::string::npos);
    return;
  }
  unsigned sum = 0;
  for (const CheckpointTensor& t : (*checkpoint)->tensors()) {
    const auto* data = static_cast<const unsigned char*>(t.data);
    for (size_t i = 0; i < t.bytes; ++i) sum += data[i];
    if (t.shape.size() == 1) (void)(*checkpoint)->Vector(t.name, t.shape[0]);
  }
  volatile unsigned sink = sum;
  (void)sink;
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
  const TempDir dir;
  const std::string good = GoodGguf();
  for (size_t i = 0; i < good.size(); ++i) {
    for (const unsigned char edit : Edits(static_cast<unsigned char>(good[i]))) {
      std::string bad = good;
      bad[i] = static_cast<char>(edit);
      Exercise(dir.Write("m.gguf", bad));
    }
  }
}

TEST(Corruption, GgufTruncatedAnywhere) {
  const TempDir dir;
  const std::string good = GoodGguf();
  ASSERT_TRUE(OpenCheckpoint(dir.Write("m.gguf", good)));
  for (size_t n = 0; n < good.size(); ++n) {
    const std::string path = dir.Write("m.gguf", good.substr(0, n));
    EXPECT_FALSE(OpenCheckpoint(path)) << n;
  }
}

TEST(Corruption, SafetensorsWithAnyHeaderByteWrong) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig());
  SafetensorsWriter w;
  w.Floats("model.norm.weight", {8}, 1).Add("h", "F16", {3}, "abcdef").Floats("b", {2, 2}, 3);
  const std::string good = w.Build();
  for (size_t i = 0; i < good.size() - 54; ++i) {
    for (const unsigned char edit : Edits(static_cast<unsigned char>(good[i]))) {
      std::string bad = good;
      bad[i] = static_cast<char>(edit);
      dir.Write("model.safetensors", bad);
      Exercise(dir.path());
    }
  }
}

TEST(Corruption, SafetensorsTruncatedAnywhere) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig());
  const std::string good = SafetensorsWriter().Floats("model.norm.weight", {8}, 1).Build();
  dir.Write("model.safetensors", good);
  ASSERT_TRUE(OpenCheckpoint(dir.path()));
  for (size_t n = 0; n < good.size(); ++n) {
    dir.Write("model.safetensors", good.substr(0, n));
    EXPECT_FALSE(OpenCheckpoint(dir.path())) << n;
  }
}

TEST(Corruption, ConfigWithAnyByteWrong) {
  const TempDir dir;
  dir.Write("model.safetensors", SafetensorsWriter().Floats("model.norm.weight", {8}, 1).Build());
  const std::string good = SmallLlamaConfig(
      R"(, "rope_scaling": {"type": "yarn", "factor": 2.0}, "eos_token_id": [1, 2])");
  dir.Write("config.json", good);
  ASSERT_TRUE(OpenCheckpoint(dir.path()));
  for (size_t i = 0; i < good.size(); ++i) {
    for (const unsigned char edit : Edits(static_cast<unsigned char>(good[i]))) {
      std::string bad = good;
      bad[i] = static_cast<char>(edit);
      dir.Write("config.json", bad);
      Exercise(dir.path());
    }
  }
}

}  // namespace
}  // namespace slipstream
