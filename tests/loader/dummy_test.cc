#include "loader/dummy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/host_memory.h"
#include "loader/float_bits.h"
#include "loader/random_block.h"
#include "tests/loader/safetensors_writer.h"
#include "tests/loader/temp_dir.h"

namespace slipstream {
namespace {

using ::testing::HasSubstr;

Result<std::unique_ptr<Checkpoint>> Open(const TempDir& dir, DType dtype, uint64_t seed) {
  return OpenCheckpoint(dir.path(),
                        {.format = LoadFormat::kDummy, .dummy_dtype = dtype, .seed = seed});
}

bool SameBytes(const Checkpoint& a, const Checkpoint& b) {
  for (const CheckpointTensor& t : a.tensors()) {
    const CheckpointTensor* other = b.Find(t.name);
    if (other == nullptr || other->bytes != t.bytes) return false;
    if (std::memcmp(t.data, other->data, t.bytes) != 0) return false;
  }
  return true;
}

TEST(Dummy, HasTheTensorsOfTheFamily) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig());
  const auto m = Open(dir, DType::kF32, 1);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ((*m)->format(), "dummy");
  EXPECT_EQ((*m)->tensors().size(), 12u);
  EXPECT_TRUE((*m)->Matrix("model.embed_tokens.weight", 6, 8));
  EXPECT_TRUE((*m)->Matrix("model.layers.0.self_attn.k_proj.weight", 4, 8));
  EXPECT_TRUE((*m)->Matrix("lm_head.weight", 6, 8));
  const auto norm = (*m)->Vector("model.norm.weight", 8);
  for (const float w : norm.value()) EXPECT_NEAR(w, 1.0f, 0.1f);
}

TEST(Dummy, HasTheBiasesOfTheMlp) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig(R"(, "mlp_bias": true)"));
  const auto m = Open(dir, DType::kF32, 1);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_TRUE((*m)->Vector("model.layers.0.mlp.gate_proj.bias", 16));
  EXPECT_TRUE((*m)->Vector("model.layers.0.mlp.down_proj.bias", 8));
  EXPECT_EQ((*m)->Find("model.layers.0.self_attn.q_proj.bias"), nullptr);
}

TEST(Dummy, GemmaNormsAreStoredMinusOne) {
  const TempDir dir;
  dir.Write("config.json", R"({"architectures": ["Gemma3ForCausalLM"], "vocab_size": 6,
      "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1})");
  const auto m = Open(dir, DType::kBF16, 1);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ((*m)->Find("lm_head.weight"), nullptr);
  const auto norm = (*m)->Vector("model.layers.0.self_attn.q_norm.weight", 256);
  for (const float w : norm.value()) EXPECT_NEAR(w, 0.0f, 0.1f);
}

TEST(Dummy, SeedDecidesTheNumbers) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig());
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const auto a = Open(dir, dtype, 1), b = Open(dir, dtype, 1), c = Open(dir, dtype, 2);
    ASSERT_TRUE(a && b && c);
    EXPECT_TRUE(SameBytes(**a, **b));
    EXPECT_FALSE(SameBytes(**a, **c));
  }
}

TEST(Dummy, NumbersAreNearlyNormal) {
  const TempDir dir;
  dir.Write("config.json", R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 1000,
      "hidden_size": 256, "intermediate_size": 16, "num_hidden_layers": 1,
      "num_attention_heads": 2})");
  const auto m = Open(dir, DType::kF16, 3);
  ASSERT_TRUE(m) << m.error().message;
  const CheckpointTensor* t = (*m)->Find("model.embed_tokens.weight");
  double sum = 0, squares = 0;
  const size_t n = t->bytes / 2;
  for (size_t i = 0; i < n; ++i) {
    const float v = FloatFromF16(static_cast<const uint16_t*>(t->data)[i]);
    sum += v;
    squares += static_cast<double>(v) * v;
  }
  EXPECT_NEAR(sum / static_cast<double>(n), 0.0, 2e-4);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(n)), 0.02, 2e-4);
}

// 16 GB of weights from one block: every byte can be read, and different layers differ.
TEST(Dummy, LargeModelSharesOneBlock) {
  const TempDir dir;
  dir.Write("config.json", R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 128256,
      "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 8})");
  const auto m = Open(dir, DType::kBF16, 0);
  ASSERT_TRUE(m) << m.error().message;
  size_t total = 0;
  unsigned sum = 0;
  for (const CheckpointTensor& t : (*m)->tensors()) {
    total += t.bytes;
    sum += static_cast<const unsigned char*>(t.data)[0];
    sum += static_cast<const unsigned char*>(t.data)[t.bytes - 1];
  }
  EXPECT_GT(total, size_t{16'000'000'000});
  EXPECT_GT(sum, 0u);
  EXPECT_NE((*m)->Find("model.layers.0.mlp.up_proj.weight")->data,
            (*m)->Find("model.layers.1.mlp.up_proj.weight")->data);
}

TEST(Dummy, WrongDtypeIsAnError) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig());
  EXPECT_THAT(Open(dir, DType::kQ4_0, 0).error().message, HasSubstr("Q4_0"));
}

TEST(FloatBits, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const auto bits = static_cast<uint16_t>(h);
    if ((bits & 0x7fff) > 0x7c00) {
      EXPECT_TRUE(std::isnan(FloatFromF16(bits)));
      continue;
    }
    EXPECT_EQ(F16FromFloat(FloatFromF16(bits)), bits);
    EXPECT_EQ(FloatFromF16(bits), static_cast<float>(std::bit_cast<_Float16>(bits)));
  }
}

TEST(FloatBits, RoundsToNearestEven) {
  EXPECT_EQ(Bf16FromFloat(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(Bf16FromFloat(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  for (uint32_t i = 0; i < 1000000; ++i) {
    const float f = std::bit_cast<float>(i * 4283u);
    if (std::isnan(f)) continue;
    EXPECT_EQ(F16FromFloat(f), std::bit_cast<uint16_t>(static_cast<_Float16>(f))) << f;
  }
}

// The same pages are mapped many times and count every time they are touched.
TEST(Dummy, ReleasedPagesLeaveResidentMemory) {
  constexpr size_t kBytes = size_t{64} << 20;
  auto block = RandomBlock::Make({.seed = 1, .total_bytes = 1000, .largest_bytes = kBytes});
  ASSERT_TRUE(block) << block.error().message;
  const auto* data = static_cast<const char*>(block->Next(kBytes));
  const int64_t before = ReadHostMemory().shared_bytes;
  int sum = 0;
  for (size_t i = 0; i < kBytes; i += 4096) sum += data[i];
  EXPECT_GT(ReadHostMemory().shared_bytes, before + static_cast<int64_t>(kBytes) / 2);
  block->ReleasePages();
  EXPECT_LT(ReadHostMemory().shared_bytes, before + (int64_t{1} << 20));
  for (size_t i = 0; i < kBytes; i += 4096) sum -= data[i];
  EXPECT_EQ(sum, 0);
}

}  // namespace
}  // namespace slipstream
