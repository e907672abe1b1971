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

constexpr int kLayers = 3, kHidden = 520, kQkv = 784, kFfn = 1040, kHead = 1000;
constexpr int kMaxTokens = 64, kTiles = GemmStreamPartials(kHidden);
constexpr float kEps = 1e-5f;
constexpr DType kType = DType::kBF16;

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

// Gates and ups of `in`, [2 * kFfn, kHidden], by eights.
std::vector<uint16_t> Interleaved(const RandomMatrix& in) {
  std::vector<uint16_t> out(in.bits().size());
  for (int f = 0; f < kFfn; ++f) {
    for (int up : {0, 1}) {
      std::copy_n(&in.bits()[size_t(up * kFfn + f) * kHidden], kHidden,
                  &out[size_t(GemmGateRow(f) + 8 * up) * kHidden]);
    }
  }
  return out;
}

struct Layer {
  explicit Layer(uint32_t seed)
      : qkv(kQkv, kHidden, seed),
        o(kHidden, kHidden, seed + 1),
        gate_up(2 * kFfn, kHidden, seed + 2),
        down(kHidden, kFfn, seed + 3),
        eights(Interleaved(gate_up.host)),
        norm(RandomWeights(kHidden, seed + 4)),
        next_norm(RandomWeights(kHidden, seed + 5)) {
    EXPECT_EQ(
        MakeGemmStreamWeights(eights.get(), kType, 2 * kFfn, kHidden, kHidden, &gate_up_eights),
        KernelStatus::kOk);
  }
  Matrix qkv, o, gate_up, down;
  DeviceBytes eights;
  GemmStreamWeights gate_up_eights;
  DeviceBytes norm, next_norm;
};

class Chain {
 public:
  Chain() : head_(kHead, kHidden, 99), first_norm_(RandomWeights(kHidden, 98)) {
    for (int i = 0; i < kLayers; ++i) layers_.push_back(std::make_unique<Layer>(10 * i + 1));
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
    input_.Upload(RandomMatrix(kType, m, kHidden, kHidden, m).bits());
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
          {&residual_, 4 * kHidden}, {&x_, 2 * kHidden},      {&qkv_, 2 * kQkv},
          {&delta_, 2 * kHidden},    {&wide_, 4 * kFfn},      {&hidden_, 2 * kFfn},
          {&logits_, 4 * kHead},     {&partials_, 4 * kTiles}};
      for (const auto& [bytes, per_token] : stale) {
        EXPECT_EQ(cudaMemset(bytes->get(), 0xFF, size_t(per_token) * kMaxTokens), cudaSuccess);
      }
      EXPECT_EQ(cudaGraphLaunch(exec, stream_), cudaSuccess);
      EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess) << name;
      Result got{residual_.Download<float>(), logits_.Download<float>()};
      got.residual.resize(size_t(m) * kHidden);
      got.logits.resize(size_t(m) * kHead);
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
    Expect(ConvertSm90(input_.get(), kType, residual_.get(), DType::kF32, int64_t{m_} * kHidden,
                       pdl, stream_));
    Expect(RmsNormSm90({residual_.get(), first_norm_.get<float>(), x_.get(), DType::kF32, kType, m_,
                        kHidden, kEps},
                       pdl, stream_));
  }

  void AddNorm(const DeviceBytes& weight) {
    Expect(AddRmsNormSm90({residual_.get(), delta_.get(), weight.get<float>(), x_.get(),
                           DType::kF32, kType, m_, kHidden, kEps},
                          tuning_.dependent_launch, stream_));
  }

  void Plain() {
    Begin();
    for (const auto& l : layers_) {
      Product(l->qkv.weights, x_, kHidden, qkv_, kQkv);
      Product(l->o.weights, qkv_, kQkv, delta_, kHidden);
      AddNorm(l->norm);
      Product(l->gate_up.weights, x_, kHidden, wide_, 2 * kFfn);
      Expect(GatedActivationSm90({wide_.get(), hidden_.get(), kType, m_, kFfn, false},
                                 tuning_.dependent_launch, stream_));
      Product(l->down.weights, hidden_, kFfn, delta_, kHidden);
      AddNorm(l->next_norm);
    }
    Product(head_.weights, x_, kHidden, logits_, kHead, {}, DType::kF32);
  }

  GemmStreamEpilogue ResidualNorm(const DeviceBytes& weight) const {
    return {.kind = GemmEpilogueKind::kResidualNorm,
            .residual = residual_.get<float>(),
            .residual_stride = kHidden,
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
      Product(l->qkv.weights, x_, kHidden, qkv_, kQkv,
              normed ? GemmStreamEpilogue{} : Scaled(GemmEpilogueKind::kScale));
      normed = false;
      Product(l->o.weights, qkv_, kQkv, x_, kHidden, ResidualNorm(l->norm));
      Product(l->gate_up_eights, x_, kHidden, hidden_, kFfn, Scaled(GemmEpilogueKind::kGated));
      Product(l->down.weights, hidden_, kFfn, x_, kHidden, ResidualNorm(l->next_norm));
    }
    Product(head_.weights, x_, kHidden, logits_, kHead, Scaled(GemmEpilogueKind::kScale),
            DType::kF32);
  }

  std::vector<std::unique_ptr<Layer>> layers_;
  Matrix head_;
  DeviceBytes first_norm_;
  DeviceBytes input_{size_t{2} * (kMaxTokens + 5) * kHidden};
  DeviceBytes residual_{size_t{4} * kMaxTokens * kHidden}, x_{size_t{2} * kMaxTokens * kHidden},
      qkv_{size_t{2} * kMaxTokens * kQkv}, delta_{size_t{2} * kMaxTokens * kHidden},
      wide_{size_t{4} * kMaxTokens * kFfn}, hidden_{size_t{2} * kMaxTokens * kFfn},
      logits_{size_t{4} * kMaxTokens * kHead}, partials_{size_t{4} * kTiles * kMaxTokens};
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
  Chain chain;
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

}  // namespace
}  // namespace slipstream::kernels
