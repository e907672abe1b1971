#include "model/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/model/golden_harness.h"
#include "tests/model/reference_backend.h"

namespace slipstream::testing {
namespace {

class RopeFixtureTest : public ::testing::TestWithParam<const char*> {};

TEST_P(RopeFixtureTest, FrequenciesEqualTransformers) {
  const GoldenFixture fixture = LoadFixture(GetParam());
  ASSERT_NE(fixture.checkpoint, nullptr);
  const ModelConfig& config = fixture.checkpoint->config();
  const auto got =
      ComputeRopeFrequencies(config.rope, config.head_dim, config.max_position_embeddings);
  ASSERT_TRUE(got) << got.error().message;
  ASSERT_EQ(got->inv_freq.size(), fixture.inv_freq.size());
  for (size_t i = 0; i < got->inv_freq.size(); ++i) {
    EXPECT_NEAR(got->inv_freq[i] / fixture.inv_freq[i], 1.0f, 3e-7f) << i;
  }
  EXPECT_FLOAT_EQ(got->attention_scaling, fixture.attention_scaling);
}

INSTANTIATE_TEST_SUITE_P(Kinds, RopeFixtureTest,
                         ::testing::Values("llama2", "llama3", "llama_linear", "llama_yarn",
                                           "gemma3"));

TEST(RopeTest, LocalThetaIsUnscaled) {
  const GoldenFixture fixture = LoadFixture("gemma3");
  const auto got = ComputeRopeFrequencies(
      RopeConfig{.theta = *fixture.checkpoint->config().rope_local_theta}, 64, 256);
  ASSERT_TRUE(got);
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_NEAR(got->inv_freq[i] / fixture.local_inv_freq[i], 1.0f, 3e-7f);
  }
}

TEST(RopeTest, FrequencyFactorsDivide) {
  RopeConfig rope{.freq_factors = {1.0f, 2.0f, 4.0f, 8.0f}};
  const auto plain = ComputeRopeFrequencies(RopeConfig{}, 8, 64);
  const auto scaled = ComputeRopeFrequencies(rope, 8, 64);
  ASSERT_TRUE(plain && scaled);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(scaled->inv_freq[i], plain->inv_freq[i] / static_cast<float>(1 << i));
  }
  rope.freq_factors.pop_back();
  EXPECT_FALSE(ComputeRopeFrequencies(rope, 8, 64));
}

TEST(RopeTest, SettingsOutOfRangeAreErrors) {
  EXPECT_FALSE(ComputeRopeFrequencies(RopeConfig{}, 7, 64));
  EXPECT_FALSE(ComputeRopeFrequencies(RopeConfig{.theta = 1.0}, 8, 64));
  EXPECT_FALSE(ComputeRopeFrequencies(
      RopeConfig{.scaling = RopeScalingKind::kLinear, .factor = 0.0}, 8, 64));
  EXPECT_FALSE(ComputeRopeFrequencies(
      RopeConfig{.scaling = RopeScalingKind::kLlama3, .high_freq_factor = 1.0}, 8, 64));
}

TEST(RopeTest, TableGrowsAndKeepsItsValues) {
  const auto backend = MakeReferenceBackend();
  auto frequencies = ComputeRopeFrequencies(RopeConfig{}, 8, 4096);
  ASSERT_TRUE(frequencies);
  const std::vector<float> inv_freq = frequencies->inv_freq;
  RopeCache cache(std::move(*frequencies), RopeLayout::kNeox);
  ASSERT_TRUE(cache.Cover(10, *backend));
  const float before = cache.table().sin[9 * 4 + 1];
  EXPECT_FLOAT_EQ(before, std::sin(9.0f * inv_freq[1]));
  ASSERT_TRUE(cache.Cover(3000, *backend));
  EXPECT_GE(cache.table().max_positions, 3000);
  EXPECT_EQ(cache.table().sin[9 * 4 + 1], before);
  EXPECT_FLOAT_EQ(cache.table().cos[2999 * 4], std::cos(2999.0f));
}

}  // namespace
}  // namespace slipstream::testing
