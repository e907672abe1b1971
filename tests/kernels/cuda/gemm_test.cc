// gemm_stream_sm90 against float64, and the way it cuts its work.
#include "kernels/cuda/gemm/gemm_stream.h"

#include <gtest/gtest.h>

#include <memory>

#include "kernels/cuda/gemm/gemm_stream_variant.h"
#include "tests/kernels/cuda/gemm_case.h"

namespace slipstream::kernels {
namespace {

const std::vector<int> kTokens = {1, 2, 3, 7, 8, 9, 16, 33, 64, 100, 128, 200, 256, 300};

// The scratch of all tests: what one leaves behind, the next one meets.
DeviceBytes& Workspace() {
  static DeviceBytes workspace(GemmStreamWorkspaceBytes(300, NumSms()));
  return workspace;
}

void ExpectAtRest(const std::string& name) {
  const auto words = Workspace().Download<uint32_t>();
  const auto bad = std::find_if(words.begin(), words.end(), [](uint32_t w) { return w + 1 != 0; });
  if (bad == words.end()) return;
  ADD_FAILURE() << name << ": scratch not at rest at word " << bad - words.begin() << " of "
                << words.size();
  cudaMemset(Workspace().get(), 0xFF, words.size() * 4);
}

// A weight matrix on the device and products with it.
class Product {
 public:
  Product(DType dtype, int n, int k, int w_padding = 8)
      : w_(dtype, n, k, k + w_padding, 11 * n + k), device_w_(w_.bits()) {
    EXPECT_EQ(MakeGemmStreamWeights(device_w_.get(), dtype, n, k, w_.stride(), &weights_),
              KernelStatus::kOk);
    std::mt19937 rng(5);
    for (int i = 0; i < n; ++i) bias_.push_back((static_cast<int>(rng() % 2001) - 1000) / 64.0f);
    device_bias_ = std::make_unique<DeviceBytes>(bias_);
  }

  struct Options {
    DType y_dtype = DType::kF32;
    bool bias = false;
    int y_padding = 3;
    int launches = 2;
    bool compare = true;  // with the reference
    GemmStreamTuning tuning;
  };

  // Runs the product `launches` times: the same bits each time, the scratch clean after each.
  GotMatrix Run(int m, const Options& o) {
    const RandomMatrix x(w_.dtype(), m, w_.columns(), w_.columns() + 16, m);
    const DeviceBytes device_x(x.bits());
    GotMatrix got{o.y_dtype, m, w_.rows(), w_.rows() + o.y_padding, {}};
    const DeviceBytes y(size_t(m + 3) * got.stride * got.element_bytes());
    GemmStreamArgs args;
    args.x = device_x.get();
    args.x_stride = x.stride();
    args.bias = o.bias ? device_bias_->get<float>() : nullptr;
    args.y = y.get();
    args.y_stride = got.stride;
    args.y_dtype = o.y_dtype;
    args.m = m;
    args.tuning = o.tuning;
    const std::string name = Name(m, o);
    for (int i = 0; i < o.launches; ++i) {
      EXPECT_EQ(cudaMemset(y.get(), 0xFF, size_t(m + 3) * got.stride * got.element_bytes()),
                cudaSuccess);
      EXPECT_EQ(GemmStreamSm90(weights_, args, Workspace().get(), nullptr), KernelStatus::kOk)
          << name;
      EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess) << name;
      const auto bytes = y.Download<unsigned char>();
      if (i == 0) {
        got.bytes = bytes;
        ExpectExactlyWritten(got, name);
        if (o.compare) ExpectProduct(x, w_, o.bias ? bias_ : std::vector<float>{}, got, name);
      } else {
        EXPECT_TRUE(bytes == got.bytes) << name << ": launch " << i << " gave other bits";
      }
    }
    return got;
  }

  std::string Name(int m, const Options& o) const {
    return std::string(NameOf(w_.dtype())) + " to " + NameOf(o.y_dtype) + " m" + std::to_string(m) +
           " n" + std::to_string(w_.rows()) + " k" + std::to_string(w_.columns()) +
           (o.bias ? " bias" : "") + " grid" + std::to_string(o.tuning.grid) + " stages" +
           std::to_string(o.tuning.stages);
  }

  void Check(const Options& o, const std::vector<int>& tokens = kTokens) {
    for (int m : tokens) Run(m, o);
    ExpectAtRest(Name(tokens.back(), o));
  }

 private:
  RandomMatrix w_;
  DeviceBytes device_w_;
  GemmStreamWeights weights_;
  std::vector<float> bias_;
  std::unique_ptr<DeviceBytes> device_bias_;
};

// The smallest products first: one stage, one tile, no split.
TEST(GemmStream, OneStage) {
  SLIP_REQUIRE_DEVICE();
  Product(DType::kBF16, 128, 64).Check({}, {1, 8, 128});
}
TEST(GemmStream, OneTileOneCta) {
  SLIP_REQUIRE_DEVICE();
  Product::Options o;
  o.tuning.grid = 1;
  Product(DType::kBF16, 128, 1024).Check(o, {1, 8, 16, 32, 64, 128});
}
TEST(GemmStream, OneTileManyCtas) {
  SLIP_REQUIRE_DEVICE();
  for (int grid : {2, 3, 5, 16}) {
    Product::Options o;
    o.tuning.grid = grid;
    Product(DType::kBF16, 128, 1024).Check(o, {1, 8, 16, 32, 64, 128});
  }
}

TEST(GemmStream, EveryTokenCountAndType) {
  SLIP_REQUIRE_DEVICE();
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    for (DType y : {dtype, DType::kF32}) {
      Product::Options o;
      o.y_dtype = y;
      o.bias = y == dtype;
      Product(dtype, 960, 576).Check(o);
    }
  }
}

TEST(GemmStream, OddRowCountsAndShortColumns) {
  SLIP_REQUIRE_DEVICE();
  for (int n : {1, 7, 127, 129, 1001, 5003}) {
    for (int k : {8, 56, 64, 72, 200}) {
      Product::Options o;
      o.bias = n % 2 == 1;
      o.y_dtype = k % 64 == 8 ? DType::kBF16 : DType::kF32;
      Product(DType::kBF16, n, k).Check(o, {1, 9, 33, 130});
    }
  }
}

TEST(GemmStream, ModelShapes) {
  SLIP_REQUIRE_DEVICE();
  const std::vector<int> tokens = {1, 8, 16, 32, 64, 128, 300};
  for (const auto& [n, k] : {std::pair{4096, 14336}, {6144, 4096}, {1536, 576}}) {
    Product::Options o;
    o.y_dtype = DType::kBF16;
    o.y_padding = 0;
    Product(DType::kBF16, n, k, 0).Check(o, tokens);
  }
  // Whole tiles and shared ones in the same CTA; tall tiles from 64 tokens on.
  Product::Options o;
  o.y_dtype = DType::kBF16;
  Product(DType::kBF16, 28672, 512).Check(o, tokens);
  o.y_dtype = DType::kF32;
  Product(DType::kBF16, 50257, 768).Check(o, {1, 16, 64, 128});
}

TEST(GemmStream, EveryTuningGivesTheSameProduct) {
  SLIP_REQUIRE_DEVICE();
  Product product(DType::kBF16, 3000, 1032);
  const int sms = NumSms();
  for (int m : {5, 40, 128}) {
    for (int grid : {1, 2, 7, 40, sms - 1, sms}) {
      Product::Options o;
      o.tuning.grid = grid;
      const auto want = product.Run(m, o).bytes;
      o.launches = 1;
      o.compare = false;  // the bits are
      for (int stages : {1, 2, 3, 16}) {
        for (int prefetch : {0, 6}) {
          o.tuning.stages = stages;
          o.tuning.prefetch_stages = prefetch;
          o.tuning.dependent_launch = o.tuning.early_release = stages == 3;
          EXPECT_TRUE(product.Run(m, o).bytes == want) << product.Name(m, o);
        }
      }
    }
  }
  ExpectAtRest("tuning");
}

TEST(GemmStream, BothTileHeights) {
  SLIP_REQUIRE_DEVICE();
  Product product(DType::kF16, 2100, 640);
  for (int row_blocks : {1, 2}) {
    for (int grid : {0, 9, 50}) {
      Product::Options o;
      o.y_dtype = DType::kF16;
      o.bias = true;
      o.tuning.row_blocks = row_blocks;
      o.tuning.grid = grid;
      product.Check(o, {40, 64, 65, 128, 250});
    }
  }
}

// Many launches in a row, each of which meets the scratch of the one before at its end.
TEST(GemmStream, ManyLaunchesGiveTheSameBits) {
  SLIP_REQUIRE_DEVICE();
  Product product(DType::kBF16, 4096, 2048);
  for (int m : {1, 16, 128}) {
    Product::Options o;
    o.launches = 50;
    product.Run(m, o);
  }
  ExpectAtRest("many launches");
}

// A chain in a captured graph where every product reads the one before: with dependent launch,
// weights are loaded early and tokens are not.
TEST(GemmStream, DependentChainInAGraph) {
  SLIP_REQUIRE_DEVICE();
  constexpr int kSize = 2048, kLinks = 12;
  std::vector<std::unique_ptr<DeviceBytes>> data;
  std::vector<GemmStreamWeights> weights(kLinks);
  for (int i = 0; i < kLinks; ++i) {
    const RandomMatrix w(DType::kBF16, kSize, kSize, kSize, 100 + i);
    data.push_back(std::make_unique<DeviceBytes>(w.bits()));
    ASSERT_EQ(
        MakeGemmStreamWeights(data.back()->get(), DType::kBF16, kSize, kSize, kSize, &weights[i]),
        KernelStatus::kOk);
  }
  cudaStream_t stream;
  SLIP_CUDA_OK(cudaStreamCreate(&stream));
  for (int m : {1, 16, 64, 128}) {
    const RandomMatrix x(DType::kBF16, m, kSize, kSize, m);
    std::vector<uint16_t> first;
    for (int mode = 0; mode < 4; ++mode) {
      std::vector<std::unique_ptr<DeviceBytes>> y;
      y.push_back(std::make_unique<DeviceBytes>(x.bits()));
      for (int i = 0; i < kLinks; ++i) {
        y.push_back(std::make_unique<DeviceBytes>(size_t{2} * m * kSize));
      }
      cudaGraph_t graph;
      cudaGraphExec_t exec;
      const auto record = [&] {
        for (int i = 0; i < kLinks; ++i) {
          GemmStreamArgs args;
          args.x = y[i]->get();
          args.x_stride = args.y_stride = kSize;
          args.y = y[i + 1]->get();
          args.m = m;
          args.tuning.dependent_launch = mode > 0;
          args.tuning.early_release = mode == 2;
          args.tuning.stages = mode == 3 ? 16 : 0;
          ASSERT_EQ(GemmStreamSm90(weights[i], args, Workspace().get(), stream), KernelStatus::kOk);
        }
      };
      record();  // loads the modules outside the capture
      SLIP_CUDA_OK(cudaStreamSynchronize(stream));
      SLIP_CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
      record();
      SLIP_CUDA_OK(cudaStreamEndCapture(stream, &graph));
      SLIP_CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
      for (int i = 1; i <= kLinks; ++i) {
        SLIP_CUDA_OK(cudaMemset(y[i]->get(), 0xFF, size_t{2} * m * kSize));
      }
      for (int i = 0; i < 3; ++i) SLIP_CUDA_OK(cudaGraphLaunch(exec, stream));
      SLIP_CUDA_OK(cudaStreamSynchronize(stream));
      const auto last = y[kLinks]->Download<uint16_t>();
      if (mode == 0) first = last;
      EXPECT_TRUE(last == first) << "m" << m << " mode " << mode;
      SLIP_CUDA_OK(cudaGraphExecDestroy(exec));
      SLIP_CUDA_OK(cudaGraphDestroy(graph));
    }
  }
  SLIP_CUDA_OK(cudaStreamDestroy(stream));
  ExpectAtRest("chain");
}

TEST(GemmStream, RefusesWhatItCannotDo) {
  SLIP_REQUIRE_DEVICE();
  const DeviceBytes w(std::vector<uint16_t>(64 * 64));
  GemmStreamWeights weights;
  EXPECT_EQ(MakeGemmStreamWeights(w.get(), DType::kF32, 64, 64, 64, &weights),
            KernelStatus::kUnsupported);
  EXPECT_EQ(MakeGemmStreamWeights(w.get(), DType::kBF16, 64, 63, 64, &weights),
            KernelStatus::kInvalidArgument);
  ASSERT_EQ(MakeGemmStreamWeights(w.get(), DType::kBF16, 64, 64, 64, &weights), KernelStatus::kOk);
  GemmStreamArgs args;
  args.x = w.get();
  args.y = w.get();
  args.x_stride = args.y_stride = 64;
  EXPECT_EQ(GemmStreamSm90(weights, args, Workspace().get(), nullptr),
            KernelStatus::kInvalidArgument);  // no tokens
  args.m = 1;
  args.y_dtype = DType::kF16;
  EXPECT_EQ(GemmStreamSm90(weights, args, Workspace().get(), nullptr), KernelStatus::kUnsupported);
  args.y_dtype = DType::kBF16;
  args.tuning.grid = NumSms() + 1;
  EXPECT_EQ(GemmStreamSm90(weights, args, Workspace().get(), nullptr),
            KernelStatus::kInvalidArgument);
}

// The cut of the line, on the host.
TEST(GemmStreamPlan, EveryUnitBelongsToTheShareThatHoldsIt) {
  for (int units : {1, 2, 9, 131, 132, 133, 2048, 3072, 7168, 64128}) {
    for (int grid : {1, 2, 7, 112, 128, 132}) {
      if (grid > units) continue;
      ASSERT_EQ(ShareBegin(units, grid, 0), 0);
      ASSERT_EQ(ShareBegin(units, grid, grid), units);
      for (int i = 0; i < grid; ++i) {
        const int begin = ShareBegin(units, grid, i), end = ShareBegin(units, grid, i + 1);
        ASSERT_LT(begin, end);
        ASSERT_LE(end - begin, units / grid + 1);
        for (int u = begin; u < end; ++u) ASSERT_EQ(ShareOf(units, grid, u), i);
      }
    }
  }
}

TEST(GemmStreamPlan, GridsAreAlignedWhereThatCostsLittle) {
  EXPECT_EQ(ChooseGemmStreamGrid(224, 64, 132), 112);  // two whole tiles each
  EXPECT_EQ(ChooseGemmStreamGrid(32, 64, 132), 128);   // a quarter of a tile each
  EXPECT_EQ(ChooseGemmStreamGrid(48, 64, 132), 132);
  EXPECT_EQ(ChooseGemmStreamGrid(1002, 64, 132), 132);
  EXPECT_EQ(ChooseGemmStreamGrid(1, 1, 132), 1);
  EXPECT_EQ(ChooseGemmStreamVariant(1, 4096, 132).tokens, 8);
  EXPECT_EQ(ChooseGemmStreamVariant(129, 4096, 132).tokens, 128);
  EXPECT_EQ(ChooseGemmStreamVariant(128, 28672, 132).row_blocks, 2);
  EXPECT_EQ(ChooseGemmStreamVariant(128, 4096, 132).row_blocks, 1);
}

TEST(GemmStreamPlan, WorkspaceHoldsEveryVariant) {
  for (int max_m : {1, 8, 9, 32, 64, 128, 1000}) {
    for (int m = 1; m <= max_m; ++m) {
      for (int n : {64, 4096, 28672, 128256}) {
        const GemmStreamVariant v = ChooseGemmStreamVariant(m, n, 132);
        ASSERT_LE(size_t{132} * 2 * 4 * kGemmWeightRows * v.row_blocks * v.tokens,
                  GemmStreamWorkspaceBytes(max_m, 132));
      }
    }
  }
}

}  // namespace
}  // namespace slipstream::kernels
