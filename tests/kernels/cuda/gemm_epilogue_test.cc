// The epilogues of gemm_stream_sm90 against float64: every token count, split and whole tiles, odd
// sizes, between poisoned rows and columns. The chain of them is in gemm_layer_test.cc.
#include "kernels/cuda/gemm/gemm_epilogue.h"

#include <gtest/gtest.h>

#include <memory>

#include "kernels/cuda/gemm/gemm_stream.h"
#include "tests/kernels/cuda/gemm_case.h"

namespace slipstream::kernels {
namespace {

constexpr GemmEpilogueKind kResidualNorm = GemmEpilogueKind::kResidualNorm;
constexpr GemmEpilogueKind kScale = GemmEpilogueKind::kScale;
constexpr GemmEpilogueKind kGated = GemmEpilogueKind::kGated;
constexpr float kEps = 1e-3f;

struct Case {
  GemmEpilogueKind kind = kScale;
  int m = 1;
  DType y_dtype = DType::kBF16;
  bool bias = false;
  bool gelu = false;
  bool partials = true;
  int launches = 2;
  GemmStreamTuning tuning;
};

std::vector<float> RandomFloats(size_t n, float low, float high, uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> x(n);
  for (float& v : x) v = uniform(rng);
  return x;
}

DeviceBytes& Workspace() {
  static DeviceBytes workspace(GemmStreamWorkspaceBytes(64, NumSms()));
  return workspace;
}

double Rounding(DType t) {
  return t == DType::kF32 ? 0x1p-23 : t == DType::kF16 ? 0x1p-11 : 0x1p-8;
}

double Activated(double x, bool gelu) {
  const double u = gelu ? 1.5957691216057308 * (x + 0.044715 * x * x * x) : x;
  return x / (1 + std::exp(-u));
}

// Counts what is out of bounds and says where.
class Errors {
 public:
  void Add(int token, int at, double value, double want, double allowed) {
    const double error = std::fabs(value - want) / allowed;
    if (error <= 1) {
      worst_ = std::max(worst_, error);
      return;
    }
    low_[0] = std::min(low_[0], token), low_[1] = std::min(low_[1], at);
    high_[0] = std::max(high_[0], token), high_[1] = std::max(high_[1], at);
    if (++wrong_ > 10) return;
    examples_ += "\n  token " + std::to_string(token) + " at " + std::to_string(at) + ": got " +
                 std::to_string(value) + " want " + std::to_string(want);
  }
  void Expect(const std::string& name) const {
    EXPECT_EQ(wrong_, 0) << name << ": in tokens " << low_[0] << ".." << high_[0] << ", at "
                         << low_[1] << ".." << high_[1] << ", worst of the right ones " << worst_
                         << " of the allowance" << examples_;
  }

 private:
  int64_t wrong_ = 0;
  double worst_ = 0;
  int low_[2] = {1 << 30, 1 << 30}, high_[2] = {-1, -1};
  std::string examples_;
};

class FusedProduct {
 public:
  FusedProduct(DType dtype, int n, int k)
      : w_(dtype, n, k, k + 8, 11 * n + k),
        bias_(RandomFloats(n, -4, 4, 5)),
        norm_(RandomFloats(n, 0.5f, 1.5f, 6)),
        device_w_(w_.bits()),
        device_bias_(bias_),
        device_norm_(norm_) {
    EXPECT_EQ(MakeGemmStreamWeights(device_w_.get(), dtype, n, k, w_.stride(), &weights_),
              KernelStatus::kOk);
  }

  void Check(const Case& c) {
    const int n = w_.rows(), m = c.m;
    name_ = Name(c);
    const RandomMatrix x(w_.dtype(), m, w_.columns(), w_.columns() + 16, m);
    const DeviceBytes device_x(x.bits());
    const int columns = c.kind == kGated ? n / 2 : n;
    GotMatrix y{c.y_dtype, m, columns, columns + 3, {}};
    GotMatrix residual{DType::kF32, m, n, n + 5, {}};
    GotMatrix sums{DType::kF32, int(GemmStreamPartials(n)), m, m, {}};
    const auto before = ResidualBefore(residual);
    // Of a size that brings sums to about one; more than there are, to be ignored.
    const auto partials = RandomFloats((GemmStreamPartials(w_.columns()) + 1) * m, 10, 60, 7);
    const DeviceBytes device_partials(partials);
    for (int i = 0; i < c.launches; ++i) {
      const DeviceBytes device_y(size_t(m + 3) * y.stride * y.element_bytes());
      const DeviceBytes device_residual(before), device_sums(size_t(sums.rows + 2) * m * 4);
      GemmStreamArgs args;
      args.x = device_x.get();
      args.x_stride = x.stride();
      args.bias = c.bias ? device_bias_.get<float>() : nullptr;
      args.y = device_y.get();
      args.y_stride = y.stride;
      args.y_dtype = c.y_dtype;
      args.m = m;
      args.tuning = c.tuning;
      args.epilogue = {.kind = c.kind,
                       .residual = device_residual.get<float>(),
                       .residual_stride = residual.stride,
                       .norm_weight = device_norm_.get<float>(),
                       .partials_out = device_sums.get<float>(),
                       .partials_in = c.partials ? device_partials.get<float>() : nullptr,
                       .eps = kEps,
                       .gelu_tanh = c.gelu};
      ASSERT_EQ(GemmStreamSm90(weights_, args, Workspace().get(), nullptr), KernelStatus::kOk)
          << name_;
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << name_;
      if (i > 0) {
        EXPECT_TRUE(device_y.Download<unsigned char>() == y.bytes) << name_ << ": other bits";
        EXPECT_TRUE(device_residual.Download<unsigned char>() == residual.bytes &&
                    device_sums.Download<unsigned char>() == sums.bytes)
            << name_ << ": another residual";
        continue;
      }
      y.bytes = device_y.Download<unsigned char>();
      residual.bytes = device_residual.Download<unsigned char>();
      sums.bytes = device_sums.Download<unsigned char>();
    }
    ExpectExactlyWritten(y, name_ + " y");
    if (c.kind == kResidualNorm) {
      ExpectExactlyWritten(residual, name_ + " residual");
      ExpectExactlyWritten(sums, name_ + " partials");
      ExpectResidual(c, x, before, residual, sums, y);
    } else {
      ExpectScaled(c, x, partials, y);
    }
  }

 private:
  std::string Name(const Case& c) const {
    const char* kinds[] = {"none", "residual", "scale", "gated"};
    return std::string(kinds[int(c.kind)]) + " " + NameOf(w_.dtype()) + " to " + NameOf(c.y_dtype) +
           " m" + std::to_string(c.m) + " n" + std::to_string(w_.rows()) + " k" +
           std::to_string(w_.columns()) + " grid" + std::to_string(c.tuning.grid) + " blocks" +
           std::to_string(c.tuning.row_blocks) + (c.bias ? " bias" : "") + (c.gelu ? " gelu" : "") +
           (c.partials ? "" : " unscaled");
  }

  // Values between poison.
  std::vector<uint32_t> ResidualBefore(const GotMatrix& residual) const {
    std::vector<uint32_t> bits(size_t(residual.rows + 3) * residual.stride, 0xFFFFFFFFu);
    const auto values = RandomFloats(size_t(residual.rows) * residual.columns, -8, 8, 9);
    for (int r = 0; r < residual.rows; ++r) {
      std::memcpy(&bits[size_t(r) * residual.stride], &values[size_t(r) * residual.columns],
                  size_t{4} * residual.columns);
    }
    return bits;
  }

  std::vector<int> Tokens(int m) const { return Sample(m, Small(m) ? m : 14, 1); }
  std::vector<int> Outputs(int m, int columns) const {
    return Sample(columns, Small(m) ? columns : 90, 2);
  }
  bool Small(int m) const { return double(m) * w_.rows() * w_.columns() < 4e7; }

  void ExpectResidual(const Case& c, const RandomMatrix& x, const std::vector<uint32_t>& before,
                      const GotMatrix& residual, const GotMatrix& sums, const GotMatrix& y) {
    Errors streams, rows, squares;
    for (int t : Tokens(c.m)) {
      for (int n : Outputs(c.m, w_.rows())) {
        float old;
        std::memcpy(&old, &before[size_t(t) * residual.stride + n], 4);
        const Dot dot = DotOf(x.Row(t), w_.Row(n), w_.columns());
        const double want = old + dot.value + (c.bias ? bias_[n] : 0.0);
        const double allowed = 1e-5 * dot.magnitude + 0x1p-22 * std::fabs(want) + 1e-5;
        const double got = LoadElement(residual.At(t, n), DType::kF32);
        streams.Add(t, n, got, want, allowed);
        rows.Add(t, n, LoadElement(y.At(t, n), y.dtype), got * norm_[n],
                 1.01 * Rounding(y.dtype) * std::fabs(got * norm_[n]) + 1e-6);
      }
    }
    // The sums are of the stream as stored.
    for (int t = 0; t < c.m; ++t) {
      for (int tile = 0; tile < sums.rows; ++tile) {
        double want = 0;
        for (int n = 128 * tile; n < std::min(128 * (tile + 1), w_.rows()); ++n) {
          const double v = LoadElement(residual.At(t, n), DType::kF32);
          want += v * v;
        }
        squares.Add(t, tile, LoadElement(sums.At(tile, t), DType::kF32), want, 1e-5 * want + 1e-9);
      }
    }
    streams.Expect(name_ + " residual");
    rows.Expect(name_ + " y");
    squares.Expect(name_ + " partials");
  }

  void ExpectScaled(const Case& c, const RandomMatrix& x, const std::vector<float>& partials,
                    const GotMatrix& y) {
    Errors errors;
    for (int t : Tokens(c.m)) {
      double sum = 0;
      for (int i = 0; i < GemmStreamPartials(w_.columns()); ++i) sum += partials[i * c.m + t];
      const double scale = c.partials ? 1 / std::sqrt(sum / w_.columns() + kEps) : 1.0;
      struct Term {
        double value, error;
      };
      const auto scaled = [&](int n) -> Term {
        const Dot dot = DotOf(x.Row(t), w_.Row(n), w_.columns());
        const double value = scale * dot.value + (c.bias ? bias_[n] : 0.0);
        return {value, 1e-5 * scale * dot.magnitude + 2e-6 * std::fabs(value)};
      };
      for (int at : Outputs(c.m, y.columns)) {
        Term want;
        if (c.kind == kScale) {
          want = scaled(at);
        } else {
          const Term gate = scaled(GemmGateRow(at)), up = scaled(GemmGateRow(at) + 8);
          const double a = Activated(gate.value, c.gelu);
          want.value = a * up.value;
          want.error = 1.3 * gate.error * std::fabs(up.value) + std::fabs(a) * up.error +
                       gate.error * up.error + 4e-6 * std::fabs(want.value);
        }
        errors.Add(t, at, LoadElement(y.At(t, at), y.dtype), want.value,
                   want.error + 1.01 * Rounding(y.dtype) * std::fabs(want.value) + 1e-5);
      }
    }
    errors.Expect(name_);
  }

  RandomMatrix w_;
  std::vector<float> bias_, norm_;
  DeviceBytes device_w_, device_bias_, device_norm_;
  GemmStreamWeights weights_;
  std::string name_;
};

void ExpectAtRest() {
  const auto words = Workspace().Download<uint32_t>();
  const auto bad = std::find_if(words.begin(), words.end(), [](uint32_t w) { return w + 1 != 0; });
  if (bad == words.end()) return;
  ADD_FAILURE() << "scratch not at rest at word " << bad - words.begin() << " of " << words.size();
  cudaMemset(Workspace().get(), 0xFF, words.size() * 4);
}

// Both tiles whole, split in every way, split as the product chooses.
constexpr int kGrids[] = {1, 3, 7, 0};

void EveryTokenCount(GemmEpilogueKind kind, DType dtype, int n, int k) {
  FusedProduct product(dtype, n, k);
  for (int m = 1; m <= 64; ++m) {
    for (int grid : kGrids) {
      Case c{.kind = kind, .m = m, .y_dtype = dtype, .bias = m % 2 == 0, .gelu = m % 3 == 0};
      c.tuning.grid = grid;
      product.Check(c);
    }
  }
  ExpectAtRest();
}

TEST(GemmEpilogue, SmallestFirst) {
  SLIP_REQUIRE_DEVICE();
  FusedProduct product(DType::kBF16, 128, 64);
  for (GemmEpilogueKind kind : {kScale, kGated, kResidualNorm}) product.Check({.kind = kind});
}
TEST(GemmEpilogue, ResidualNormOfEveryTokenCount) {
  SLIP_REQUIRE_DEVICE();
  EveryTokenCount(kResidualNorm, DType::kBF16, 200, 264);
}
TEST(GemmEpilogue, ScaleOfEveryTokenCount) {
  SLIP_REQUIRE_DEVICE();
  EveryTokenCount(kScale, DType::kBF16, 200, 264);
}
TEST(GemmEpilogue, GatedOfEveryTokenCount) {
  SLIP_REQUIRE_DEVICE();
  EveryTokenCount(kGated, DType::kBF16, 208, 264);
}

TEST(GemmEpilogue, HalfPrecisionAndWideOutputs) {
  SLIP_REQUIRE_DEVICE();
  FusedProduct product(DType::kF16, 336, 200);
  for (int m : {1, 9, 20, 64}) {
    for (int grid : {1, 5}) {
      for (GemmEpilogueKind kind : {kScale, kGated, kResidualNorm}) {
        Case c{.kind = kind, .m = m, .y_dtype = DType::kF16, .bias = true, .gelu = grid == 5};
        c.tuning.grid = grid;
        product.Check(c);
        c.y_dtype = DType::kF32;
        if (kind != kResidualNorm) product.Check(c);
      }
    }
  }
}

TEST(GemmEpilogue, OddSizes) {
  SLIP_REQUIRE_DEVICE();
  for (int n : {1, 7, 16, 127, 129, 144, 1001, 1008}) {
    for (int k : {8, 72, 1032}) {
      FusedProduct product(DType::kBF16, n, k);
      for (int m : {1, 11, 33}) {
        product.Check({.kind = kResidualNorm, .m = m, .bias = m == 11});
        product.Check({.kind = kScale, .m = m, .bias = m == 11});
        if (n % 16 == 0) product.Check({.kind = kGated, .m = m, .gelu = true, .partials = m != 11});
      }
    }
  }
}

TEST(GemmEpilogue, BothTileHeights) {
  SLIP_REQUIRE_DEVICE();
  FusedProduct product(DType::kBF16, 720, 520);
  for (int row_blocks : {1, 2}) {
    for (int m : {33, 50, 64}) {
      for (int grid : {1, 5, 8}) {
        for (GemmEpilogueKind kind : {kScale, kGated, kResidualNorm}) {
          Case c{.kind = kind, .m = m, .bias = grid == 5};
          c.tuning.grid = grid;
          c.tuning.row_blocks = row_blocks;
          c.tuning.dependent_launch = grid == 8;
          c.tuning.stages = grid == 8 ? 16 : 0;
          product.Check(c);
        }
      }
    }
  }
}

TEST(GemmEpilogueModel, Shapes) {
  SLIP_REQUIRE_DEVICE();
  const auto check = [](GemmEpilogueKind kind, int n, int k) {
    FusedProduct product(DType::kBF16, n, k);
    for (int m : {1, 8, 16, 32, 64}) product.Check({.kind = kind, .m = m, .launches = 4});
    ExpectAtRest();
  };
  check(kScale, 6144, 4096);
  check(kResidualNorm, 4096, 4096);
  check(kResidualNorm, 4096, 14336);
  check(kResidualNorm, 17408, 512);  // whole tiles
  check(kGated, 28672, 1024);
}

TEST(GemmEpilogue, RefusesWhatItCannotDo) {
  SLIP_REQUIRE_DEVICE();
  const DeviceBytes data(std::vector<uint16_t>(256 * 256));
  GemmStreamWeights weights;
  ASSERT_EQ(MakeGemmStreamWeights(data.get(), DType::kBF16, 24, 64, 64, &weights),
            KernelStatus::kOk);
  GemmStreamArgs args;
  args.x = args.y = data.get();
  args.x_stride = args.y_stride = 64;
  args.m = 1;
  const auto run = [&] { return GemmStreamSm90(weights, args, Workspace().get(), nullptr); };
  args.epilogue.kind = kScale;
  EXPECT_EQ(run(), KernelStatus::kInvalidArgument);  // no partials
  args.epilogue.partials_in = data.get<float>();
  args.m = 65;
  EXPECT_EQ(run(), KernelStatus::kUnsupported);
  args.m = 1;
  args.epilogue.kind = kGated;
  EXPECT_EQ(run(), KernelStatus::kUnsupported);  // 12 outputs
  args.epilogue.kind = kResidualNorm;
  EXPECT_EQ(run(), KernelStatus::kInvalidArgument);
  args.epilogue.residual = args.epilogue.partials_out = data.get<float>();
  args.epilogue.norm_weight = data.get<float>();
  args.epilogue.residual_stride = 24;
  args.y_dtype = DType::kF32;
  EXPECT_EQ(run(), KernelStatus::kUnsupported);
}

}  // namespace
}  // namespace slipstream::kernels
