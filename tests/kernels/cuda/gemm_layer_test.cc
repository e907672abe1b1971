// The chain of products of some layers with everything between them in their epilogues, beside the
// same chain with kernels of its own for norms and activation: captured in a graph, with every kind
// of dependent launch. Attention is left out: the o product reads the first columns of qkv.
#include <gtest/gtest.h>

#include <memory>

#include "kernels/cuda/gemm/gemm_stream.h"
#include "kernels/cuda/ops/ops.h"
#include "tests/kernels/cuda/gemm_case.h"

namespace slipstream::kernels {
namespace {

constexpr int kMaxTokens = 64;
constexpr float kEps = 1e-5f;
constexpr DType kType = DType::kBF16;

struct Sizes {
  int layers, hidden, qkv, ffn, head;
};
// Tiles and rings that are not full; and shares of many stages, cut alike for clusters of four and
// eight and for none.
constexpr Sizes kSmall{3, 520, 784, 1040, 1000}, kLarge{2, 2048, 4096, 8192, 5000};

// A matrix on the device.
struct Matrix {
  Matrix(int n, int k, uint32_t seed) : host(kType, n, k, k, seed), data(host.bits()) {
    EXPECT_EQ(MakeGemmStreamWeights(data.get(), kType, n, k, k, &weights), KernelStatus::kOk);
  }
  RandomMatrix host;
  DeviceBytes data;
  GemmStreamWeights weights;
};

DeviceBytes RandomWeights(int n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
  std::vector<float> x(n);
  for (float& v : x) v = uniform(rng);
  return DeviceBytes(x);
}

// Gates and ups of `in`, all gates before all ups, by eights.
std::vector<uint16_t> Interleaved(const RandomMatrix& in) {
  const int ffn = in.rows() / 2, columns = in.columns();
  std::vector<uint16_t> out(in.bits().size());
  for (int f = 0; f < ffn; ++f) {
    for (int up : {0, 1}) {
      std::copy_n(&in.bits()[size_t(up * ffn + f) * columns], columns,
                  &out[size_t(GemmGateRow(f) + 8 * up) * columns]);
    }
  }
  return out;
}

struct Layer {
  Layer(const Sizes& size, uint32_t seed)
      : qkv(size.qkv, size.hidden, seed),
        o(size.hidden, size.hidden, seed + 1),
        gate_up(2 * size.ffn, size.hidden, seed + 2),
        down(size.hidden, size.ffn, seed + 3),
        eights(Interleaved(gate_up.host)),
        norm(RandomWeights(size.hidden, seed + 4)),
        next_norm(RandomWeights(size.hidden, seed + 5)) {
    EXPECT_EQ(MakeGemmStreamWeights(eights.get(), kType, 2 * size.ffn, size.hidden, size.hidden,
                                    &gate_up_eights),
              KernelStatus::kOk);
  }
  Matrix qkv, o, gate_up, down;
  DeviceBytes eights;
  GemmStreamWeights gate_up_eights;
  DeviceBytes norm, next_norm;
};

class Chain {
 public:
  explicit Chain(const Sizes& size)
      : size_(size),
        head_(size.head, size.hidden, 99),
        first_norm_(RandomWeights(size.hidden, 98)) {
    for (int i = 0; i < size.layers; ++i) {
      layers_.push_back(std::make_unique<Layer>(size, 10 * i + 1));
    }
    EXPECT_EQ(cudaStreamCreate(&stream_), cudaSuccess);
  }
  ~Chain() { cudaStreamDestroy(stream_); }

  struct Result {
    std::vector<float> residual, logits;
  };

  // Three replays of a graph with the same bits.
  Result Run(int m, bool fused, const GemmStreamTuning& tuning, const std::string& name) {
    m_ = m;
    tuning_ = tuning;
    input_.Upload(RandomMatrix(kType, m, size_.hidden, size_.hidden, m).bits());
    const auto record = [&] { fused ? Fused() : Plain(); };
    record();  // loads the modules outside the capture
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    record();
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
    EXPECT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    EXPECT_EQ(statuses_, 0) << name << ": a launch failed";
    Result first;
    for (int i = 0; i < 3; ++i) {
      const std::pair<const DeviceBytes*, int> stale[] = {
          {&residual_, 4 * size_.hidden}, {&x_, 2 * size_.hidden}, {&qkv_, 2 * size_.qkv},
          {&delta_, 2 * size_.hidden},    {&wide_, 4 * size_.ffn}, {&hidden_, 2 * size_.ffn},
          {&logits_, 4 * size_.head},     {&partials_, 4 * tiles_}};
      for (const auto& [bytes, per_token] : stale) {
        EXPECT_EQ(cudaMemset(bytes->get(), 0xFF, size_t(per_token) * kMaxTokens), cudaSuccess);
      }
      EXPECT_EQ(cudaGraphLaunch(exec, stream_), cudaSuccess);
      EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess) << name;
      Result got{residual_.Download<float>(), logits_.Download<float>()};
      got.residual.resize(size_t(m) * size_.hidden);
      got.logits.resize(size_t(m) * size_.head);
      if (i == 0) first = got;
      EXPECT_TRUE(got.residual == first.residual && got.logits == first.logits)
          << name << ": replay " << i << " gave other values";
    }
    EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    return first;
  }

 private:
  void Expect(KernelStatus status) { statuses_ += status != KernelStatus::kOk; }

  void Product(const GemmStreamWeights& w, const DeviceBytes& x, int64_t x_stride, DeviceBytes& y,
               int64_t y_stride, const GemmStreamEpilogue& epilogue = {}, DType y_dtype = kType) {
    GemmStreamArgs args;
    args.x = x.get();
    args.x_stride = x_stride;
    args.y = y.get();
    args.y_stride = y_stride;
    args.y_dtype = y_dtype;
    args.m = m_;
    args.tuning = tuning_;
    args.epilogue = epilogue;
    Expect(GemmStreamSm90(w, args, workspace_.get(), stream_));
  }

  // The residual stream from the input, and the first norm.
  void Begin() {
    const bool pdl = tuning_.dependent_launch;
    Expect(ConvertSm90(input_.get(), kType, residual_.get(), DType::kF32,
                       int64_t{m_} * size_.hidden, pdl, stream_));
    Expect(RmsNormSm90({residual_.get(), first_norm_.get<float>(), x_.get(), DType::kF32, kType, m_,
                        size_.hidden, kEps},
                       pdl, stream_));
  }

  void AddNorm(const DeviceBytes& weight) {
    Expect(AddRmsNormSm90({residual_.get(), delta_.get(), weight.get<float>(), x_.get(),
                           DType::kF32, kType, m_, size_.hidden, kEps},
                          tuning_.dependent_launch, stream_));
  }

  void Plain() {
    Begin();
    for (const auto& l : layers_) {
      Product(l->qkv.weights, x_, size_.hidden, qkv_, size_.qkv);
      Product(l->o.weights, qkv_, size_.qkv, delta_, size_.hidden);
      AddNorm(l->norm);
      Product(l->gate_up.weights, x_, size_.hidden, wide_, 2 * size_.ffn);
      Expect(GatedActivationSm90({wide_.get(), hidden_.get(), kType, m_, size_.ffn, false},
                                 tuning_.dependent_launch, stream_));
      Product(l->down.weights, hidden_, size_.ffn, delta_, size_.hidden);
      AddNorm(l->next_norm);
    }
    Product(head_.weights, x_, size_.hidden, logits_, size_.head, {}, DType::kF32);
  }

  GemmStreamEpilogue ResidualNorm(const DeviceBytes& weight) const {
    return {.kind = GemmEpilogueKind::kResidualNorm,
            .residual = residual_.get<float>(),
            .residual_stride = size_.hidden,
            .norm_weight = weight.get<float>(),
            .partials_out = partials_.get<float>()};
  }
  GemmStreamEpilogue Scaled(GemmEpilogueKind kind) const {
    return {.kind = kind, .partials_in = partials_.get<float>(), .eps = kEps};
  }

  void Fused() {
    Begin();
    bool normed = true;  // x_ is scaled already
    for (const auto& l : layers_) {
      Product(l->qkv.weights, x_, size_.hidden, qkv_, size_.qkv,
              normed ? GemmStreamEpilogue{} : Scaled(GemmEpilogueKind::kScale));
      normed = false;
      Product(l->o.weights, qkv_, size_.qkv, x_, size_.hidden, ResidualNorm(l->norm));
      Product(l->gate_up_eights, x_, size_.hidden, hidden_, size_.ffn,
              Scaled(GemmEpilogueKind::kGated));
      Product(l->down.weights, hidden_, size_.ffn, x_, size_.hidden, ResidualNorm(l->next_norm));
    }
    Product(head_.weights, x_, size_.hidden, logits_, size_.head, Scaled(GemmEpilogueKind::kScale),
            DType::kF32);
  }

  const Sizes size_;
  const int tiles_ = GemmStreamPartials(size_.hidden);
  std::vector<std::unique_ptr<Layer>> layers_;
  Matrix head_;
  DeviceBytes first_norm_;
  DeviceBytes input_{size_t{2} * (kMaxTokens + 5) * size_.hidden};
  DeviceBytes residual_{size_t{4} * kMaxTokens * size_.hidden},
      x_{size_t{2} * kMaxTokens * size_.hidden}, qkv_{size_t{2} * kMaxTokens * size_.qkv},
      delta_{size_t{2} * kMaxTokens * size_.hidden}, wide_{size_t{4} * kMaxTokens * size_.ffn},
      hidden_{size_t{2} * kMaxTokens * size_.ffn}, logits_{size_t{4} * kMaxTokens * size_.head},
      partials_{size_t{4} * tiles_ * kMaxTokens};
  DeviceBytes workspace_{GemmStreamWorkspaceBytes(kMaxTokens, NumSms())};
  cudaStream_t stream_ = nullptr;
  GemmStreamTuning tuning_;
  int m_ = 0, statuses_ = 0;
};

// Rounding in 16 bits at other places moves values by some thousandths of their size.
void ExpectNear(const std::vector<float>& got, const std::vector<float>& want,
                const std::string& name) {
  ASSERT_EQ(got.size(), want.size());
  double squares = 0, difference = 0, worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::fabs(double(got[i]) - want[i]);
    squares += double(want[i]) * want[i];
    difference += d * d;
    if (!(d <= worst)) worst = d, at = i;
  }
  const double size = std::sqrt(squares / want.size());
  EXPECT_LT(std::sqrt(difference / want.size()) / size, 0.02) << name;
  EXPECT_LT(worst / size, 0.12) << name << ": at " << at << " of " << got.size() << " got "
                                << got[at] << " want " << want[at] << ", typical size " << size;
}

TEST(GemmLayer, FusedChainIsTheUnfusedOne) {
  SLIP_REQUIRE_DEVICE();
  Chain chain(kSmall);
  const std::pair<const char*, GemmStreamTuning> modes[] = {
      {"plain", {}},
      {"half ring", {.dependent_launch = true}},
      {"full ring", {.stages = 16, .dependent_launch = true}},
      {"half ring early", {.dependent_launch = true, .early_release = true}},
      {"full ring early", {.stages = 16, .dependent_launch = true, .early_release = true}},
  };
  for (int m : {1, 5, 8, 16, 27, 33, 64}) {
    const std::string tokens = " m" + std::to_string(m);
    const Chain::Result unfused = chain.Run(m, false, {}, "unfused" + tokens);
    Chain::Result first;
    for (const auto& [mode, tuning] : modes) {
      const std::string name = mode + tokens;
      const Chain::Result got = chain.Run(m, true, tuning, name);
      if (first.logits.empty()) first = got;
      EXPECT_TRUE(got.residual == first.residual && got.logits == first.logits)
          << name << ": other values than the first mode";
      ExpectNear(got.residual, unfused.residual, name + " residual");
      ExpectNear(got.logits, unfused.logits, name + " logits");
    }
  }
}

// Where two results differ, to tell a wrong tile from a race by the log alone.
std::string Differences(const std::vector<float>& got, const std::vector<float>& want,
                        int columns) {
  std::string text;
  size_t count = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;
    if (++count <= 8) {
      text += " [" + std::to_string(i / columns) + "][" + std::to_string(i % columns) +
              "]=" + std::to_string(got[i]) + " not " + std::to_string(want[i]);
    }
  }
  return std::to_string(count) + " differ:" + text;
}

TEST(GemmLayer, ClustersGiveTheBitsOfTheExchangeThroughMemory) {
  SLIP_REQUIRE_DEVICE();
  Chain chain(kLarge);
  for (int m : {1, 8, 13, 16, 32, 57, 64}) {
    const GemmStreamTuning memory{.row_blocks = 1, .cluster = 1};
    const Chain::Result want = chain.Run(m, true, memory, "memory");
    for (bool dependent : {false, true}) {
      for (bool early : {false, true}) {
        const GemmStreamTuning tuning{.stages = early ? 16 : 0,
                                      .row_blocks = 1,
                                      .dependent_launch = dependent,
                                      .early_release = early};
        const std::string name = "clusters m" + std::to_string(m) +
                                 (dependent ? " dependent" : "") + (early ? " early" : "");
        const Chain::Result got = chain.Run(m, true, tuning, name);
        EXPECT_TRUE(got.residual == want.residual)
            << name << " residual " << Differences(got.residual, want.residual, kLarge.hidden);
        EXPECT_TRUE(got.logits == want.logits)
            << name << " logits " << Differences(got.logits, want.logits, kLarge.head);
        if (HasFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace slipstream::kernels
