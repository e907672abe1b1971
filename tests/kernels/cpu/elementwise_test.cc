// Norms, rotation, activations on every instruction set of this machine, at widths that are not
// whole vectors, with poison beyond the end.
#include <gtest/gtest.h>

#include "tests/kernels/cpu/random_weights.h"

namespace slipstream::kernels::test {
namespace {

class ElementwiseTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    kernels_ = KernelsFor(GetParam());
    if (kernels_ == nullptr) GTEST_SKIP() << "this machine lacks the instruction set";
  }

  template <typename Fn>
  void OnWorkers(Fn fn) {
    for (int i = 0; i < 3; ++i) fn(Part{i, 3});
  }

  static std::vector<float> Guarded(std::vector<float> v) {
    v.push_back(kPoison);
    return v;
  }
  static void ExpectClose(const std::vector<float>& got, const std::vector<float>& want,
                          double tolerance) {
    ASSERT_EQ(got.size(), want.size());
    EXPECT_TRUE(std::isnan(got.back())) << "wrote past the end";
    for (size_t i = 0; i + 1 < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], tolerance * (1 + std::fabs(want[i]))) << i;
    }
  }
  const CpuKernels* kernels_ = nullptr;
};

TEST_P(ElementwiseTest, RmsNorm) {
  for (const int64_t cols : {1, 15, 16, 33, 576}) {
    const int64_t rows = 5;
    const auto weight = RandomFloats(static_cast<size_t>(cols), 1);
    for (const bool add : {false, true}) {
      auto x = Guarded(RandomFloats(static_cast<size_t>(rows * cols), 2));
      auto residual = Guarded(RandomFloats(static_cast<size_t>(rows * cols), 3));
      auto want_residual = residual, want = x, got = x;
      RmsNormParams p{
          x.data(), add ? want_residual.data() : nullptr, weight.data(), want.data(), rows, cols,
          1e-5f};
      reference::RmsNorm(p);
      p.x = got.data();  // out aliases x
      p.out = got.data();
      if (add) p.residual = residual.data();
      OnWorkers([&](Part part) { kernels_->rms_norm(p, part); });
      ExpectClose(got, want, 1e-5);
      ExpectClose(residual, want_residual, 1e-6);
    }
  }
}

TEST_P(ElementwiseTest, GatedActivation) {
  for (const bool gelu : {false, true}) {
    for (const int64_t cols : {1, 17, 64, 1536}) {
      const int64_t rows = 3;
      auto x = RandomFloats(static_cast<size_t>(rows * 2 * cols), 4, 4.0f);
      x[0] = 90.0f;
      x[static_cast<size_t>(cols) * 2] = -120.0f;
      std::vector<float> want(static_cast<size_t>(rows * cols + 1), kPoison), got = want;
      reference::GatedActivation({x.data(), want.data(), rows, cols, gelu});
      const GatedActivationParams p{x.data(), got.data(), rows, cols, gelu};
      OnWorkers([&](Part part) { kernels_->gated_activation(p, part); });
      ExpectClose(got, want, 2e-6);
    }
  }
}

TEST_P(ElementwiseTest, SoftCapAndAdd) {
  for (const size_t n : {1, 16, 47}) {
    auto x = Guarded(RandomFloats(n, 5, 60.0f));
    auto want = x;
    reference::SoftCap({want.data(), static_cast<int64_t>(n), 30.0f});
    auto got = x;
    OnWorkers([&](Part part) {
      kernels_->soft_cap({got.data(), static_cast<int64_t>(n), 30.0f}, part);
    });
    ExpectClose(got, want, 1e-5);
    const auto y = RandomFloats(n, 6);
    want = got = x;
    for (size_t i = 0; i < n; ++i) want[i] += y[i];
    OnWorkers([&](Part part) {
      kernels_->add({got.data(), y.data(), static_cast<int64_t>(n)}, part);
    });
    ExpectClose(got, want, 0);
  }
}

struct RopeCase {
  int head_dim, rotary_dim;
  bool interleaved, norm, rotate;
};

TEST_P(ElementwiseTest, RopeAndNorm) {
  for (const RopeCase c : {RopeCase{64, 64, false, false, true},
                           {64, 64, true, true, true},
                           {80, 32, false, true, true},
                           {24, 24, true, false, true},
                           {8, 8, false, true, true},
                           {64, 64, false, true, false}}) {
    const int heads = 3, kv_heads = 1, tokens = 7, width = (heads + 2 * kv_heads) * c.head_dim;
    auto qkv = Guarded(RandomFloats(static_cast<size_t>(tokens * width), 7));
    const auto q_norm = RandomFloats(static_cast<size_t>(c.head_dim), 8);
    const auto k_norm = RandomFloats(static_cast<size_t>(c.head_dim), 9);
    const auto cos = RandomFloats(static_cast<size_t>(50 * c.rotary_dim / 2), 10);
    const auto sin = RandomFloats(static_cast<size_t>(50 * c.rotary_dim / 2), 11);
    const std::vector<int32_t> positions = {0, 49, 7, 3, 3, 12, 30};
    const std::vector<int64_t> slots(static_cast<size_t>(tokens), -1);  // nothing to write
    auto want = qkv;
    for (int t = 0; t < tokens; ++t) {
      const int64_t angle = positions[static_cast<size_t>(t)] * c.rotary_dim / 2;
      for (int h = 0; h < heads + kv_heads; ++h) {
        reference::NormAndRotate(&want[static_cast<size_t>(t * width + h * c.head_dim)], c.head_dim,
                                 !c.norm ? nullptr : (h < heads ? q_norm : k_norm).data(), 1e-6f,
                                 c.rotate ? cos.data() + angle : nullptr, sin.data() + angle,
                                 c.rotary_dim, c.interleaved);
      }
    }
    RopeKvParams p;
    p.qkv = qkv.data();
    p.num_tokens = tokens;
    p.num_heads = heads;
    if (c.norm) {
      p.q_norm = q_norm.data();
      p.k_norm = k_norm.data();
    }
    p.eps = 1e-6f;
    if (c.rotate) {
      p.cos = cos.data();
      p.sin = sin.data();
    }
    p.rotary_dim = c.rotary_dim;
    p.interleaved = c.interleaved;
    p.positions = positions.data();
    p.slot_ids = slots.data();
    p.kv.num_kv_heads = kv_heads;
    p.kv.head_dim = c.head_dim;
    p.kv.block_size = 16;
    OnWorkers([&](Part part) { kernels_->rope_kv(p, part); });
    ExpectClose(qkv, want, 1e-5);
  }
}

std::string ParamName(const ::testing::TestParamInfo<Isa>& info) { return IsaName(info.param); }

INSTANTIATE_TEST_SUITE_P(All, ElementwiseTest, ::testing::ValuesIn(AllIsas()), ParamName);

}  // namespace
}  // namespace slipstream::kernels::test
