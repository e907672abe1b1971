// Matrix products of a Llama-3.1-8B decode step on one GPU, weights cold in L2, inside a CUDA
// graph: gemm_stream_sm90 beside cuBLASLt (its first choice, and the best of its first eight), one
// matrix at a time and as the chain of 32 layers; and that chain with the norms and activations of
// a step, as kernels of their own and in the products' epilogues (only that: layers).
//   gemm_bench [CSV file [layers]]
#include <cuda_bf16.h>

#include <cstring>
#include <memory>
#include <string>

#include "backend/cuda/cublaslt.h"
#include "kernels/bench/attention_harness.cuh"
#include "kernels/bench/gemm_ceiling.cuh"
#include "kernels/cuda/gemm/gemm_stream.h"
#include "tests/backend/layer_chain.cuh"

namespace slipstream::bench {
namespace {

using namespace slipstream::kernels;

constexpr double kHbmGBs = 3119;  // read-only kernel over 8 GiB, H100 80GB HBM3
constexpr int kLayers = 32;
constexpr int kTokens[] = {1, 8, 16, 32, 64, 128, 256};
constexpr int kMaxTokens = 256;

struct Matrix {
  const char* name;
  int64_t n, k;
  size_t elems() const { return size_t(n) * k; }
};
constexpr Matrix kMatrices[] = {{"qkv", 6144, 4096},
                                {"o", 4096, 4096},
                                {"gate_up", 28672, 4096},
                                {"down", 4096, 14336},
                                {"head", 128256, 4096}};
constexpr int kPerLayer = 4;
constexpr size_t kLayerElems = size_t{4096} * (6144 + 4096 + 28672 + 14336);

struct Mode {
  const char* name;
  GemmStreamTuning tuning;
};

// Largest |a - b| and largest |a|, as bits of non-negative floats.
__global__ void CompareKernel(const __nv_bfloat16* a, const __nv_bfloat16* b, size_t n,
                              unsigned* result) {
  const size_t stride = size_t(gridDim.x) * blockDim.x;
  float error = 0, largest = 0;
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < n; i += stride) {
    const float x = __bfloat162float(a[i]), y = __bfloat162float(b[i]);
    const float e = fabsf(x - y);
    error = e >= 0 ? fmaxf(error, e) : INFINITY;  // NaN is an error
    largest = fmaxf(largest, fabsf(x));
  }
  atomicMax(result, __float_as_uint(error));
  atomicMax(result + 1, __float_as_uint(largest));
}

class Bench {
 public:
  explicit Bench(FILE* csv)
      : csv_(csv),
        weights_(kLayerElems * kLayers),
        head_(2 * kMatrices[4].elems()),
        x_(size_t{kMaxTokens} * 14336),
        y_(size_t{kMaxTokens} * 128256),
        y_other_(size_t{kMaxTokens} * 128256),
        cublas_workspace_(size_t{64} << 20),
        compared_(2) {
    Fill(weights_.get(), weights_.size() * 2, Pattern::kBF16, 1);
    Fill(head_.get(), head_.size() * 2, Pattern::kBF16, 2);
    Fill(x_.get(), x_.size() * 2, Pattern::kBF16, 3);
    SLIP_CUDA(cudaGetDevice(&device_));
    SLIP_CUDA(cudaDeviceGetAttribute(&sms_, cudaDevAttrMultiProcessorCount, device_));
    const size_t bytes = GemmStreamWorkspaceBytes(kMaxTokens, sms_);
    workspace_ = std::make_unique<DeviceArray<unsigned char>>(bytes);
    SLIP_CUDA(cudaMemset(workspace_->get(), 0xFF, bytes));
    SLIP_CUDA(cudaDeviceSynchronize());
    for (int which = 0; which < 2; ++which) {  // each keeps its own choice of algorithms
      auto made = CublasLt::Make(cublas_workspace_.get(), cublas_workspace_.size());
      if (made) {
        cublas_[which] = std::move(*made);
      } else {
        std::printf("cuBLASLt: %s\n", made.error().message.c_str());
      }
    }
    if (csv_) std::fprintf(csv_, "suite,what,n,k,tokens,mode,us,weight_gb_s,share_of_3119\n");
  }

  // Copies alone: shape of a copy, CTAs and depth of the ring.
  void Ceilings() {
    const CopyShape shapes[] = {1, 2, 4, 0};
    const char* names[] = {"128 rows", "64 rows", "32 rows", "tiled"};
    std::printf("copies alone, GB/s\n%-8s %5s %7s |", "matrix", "CTAs", "ring KB");
    for (const char* name : names) std::printf(" %9s", name);
    for (int which : {0, 2, 3}) {
      const Matrix& matrix = kMatrices[which];
      const std::vector<const void*> copies = Copies(matrix);
      for (int grid : {sms_, 128, 112}) {
        for (int stages : {6, 13}) {
          std::printf("\n%-8s %5d %7d |", matrix.name, grid, stages * 16);
          for (int i = 0; i < 4; ++i) {
            const double us =
                TimeCopyOnly(copies, int(matrix.n), int(matrix.k), grid, stages, shapes[i]);
            const std::string mode = std::string(names[i]) + " grid " + std::to_string(grid) +
                                     " stages " + std::to_string(stages);
            Row("copy", matrix.name, matrix.n, matrix.k, 0, mode.c_str(), us, matrix.elems() * 2.0);
            std::printf(" %9.0f", matrix.elems() * 2e-3 / us);
          }
        }
      }
    }
    std::printf("\n\n");
  }

  void Singles() {
    std::printf("%-8s %6s %6s %4s | %9s %9s | %9s %9s | share %s, speed over best cuBLASLt\n",
                "matrix", "n", "k", "m", "plain us", "pdl us", "cublas", "best of 8", "pdl");
    for (const Matrix& matrix : kMatrices) {
      std::vector<const void*> copies = Copies(matrix);
      std::vector<GemmStreamWeights> ours(copies.size());
      for (size_t i = 0; i < copies.size(); ++i) Describe(copies[i], matrix, &ours[i]);
      for (int m : kTokens) Single(matrix, m, copies, ours);
    }
  }

  void Chains() {
    std::vector<const void*> copies;
    const std::vector<GemmStreamWeights> ours = AllLayers(&copies);
    const Mode modes[] = {
        {"plain", {}},
        {"pdl", {.dependent_launch = true}},
        {"pdl early", {.dependent_launch = true, .early_release = true}},
        {"pdl full ring", {.stages = 16, .dependent_launch = true}},
        {"pdl l2 ahead", {.prefetch_stages = 8, .dependent_launch = true}},
        {"pdl all SMs", {.grid = sms_, .dependent_launch = true}},
        {"pdl flat", {.row_blocks = 1, .dependent_launch = true}},
        {"pdl tall", {.row_blocks = 2, .dependent_launch = true}},
    };
    const double floor_us = kLayerElems * 2.0 * kLayers / kHbmGBs * 1e-3;
    std::printf("\nchain of %d layers, ms (floor %.3f)\n%4s", kLayers, floor_us * 1e-3, "m");
    for (const Mode& mode : modes) std::printf(" %14s", mode.name);
    std::printf(" %14s %14s\n", "cublas", "best of 8");
    for (int m : kTokens) {
      std::printf("%4d", m);
      for (const Mode& mode : modes) {
        if (mode.tuning.row_blocks > 0 && m <= 32) {  // one height only
          std::printf(" %14s", "-");
          continue;
        }
        Chain(m, mode.name, [&](cudaStream_t stream) {
          for (size_t i = 0; i < ours.size(); ++i) Ours(ours[i], m, mode.tuning, y_.get(), stream);
        });
      }
      for (int which = 0; which < 2; ++which) {
        if (!cublas_[which]) continue;
        Chain(m, which ? "cublas best of 8" : "cublas", [&](cudaStream_t stream) {
          for (size_t i = 0; i < ours.size(); ++i) {
            Library(which, kMatrices[i % kPerLayer], copies[i], m, stream);
          }
        });
      }
      std::printf("\n");
    }
  }

  void Layers() {
    std::vector<const void*> copies;
    const std::vector<GemmStreamWeights> ours = AllLayers(&copies);
    LayerChain chain(ours, workspace_->get());
    struct Variant {
      const char* name;
      bool fused;
      GemmStreamTuning tuning;
    };
    const Variant variants[] = {
        {"layers full", false, {.stages = 16, .dependent_launch = true}},
        {"full early", false, {.stages = 16, .dependent_launch = true, .early_release = true}},
        {"fused full", true, {.stages = 16, .dependent_launch = true}},
        {"fused early", true, {.stages = 16, .dependent_launch = true, .early_release = true}},
        {"fused flat", true, {.stages = 16, .row_blocks = 1, .dependent_launch = true}},
        {"fused half", true, {.dependent_launch = true}},
        {"fused plain", true, {}},
    };
    std::printf("\nthe same with norms and activations, ms\n%4s", "m");
    for (const Variant& v : variants) std::printf(" %14s", v.name);
    for (int m : kTokens) {
      if (m > LayerChain::kMaxTokens) break;
      std::printf("\n%4d", m);
      for (const Variant& v : variants) {
        Chain(m, v.name, [&](cudaStream_t s) { chain.Record(m, v.fused, v.tuning, s); });
      }
    }
    std::printf("\n");
  }

 private:
  std::vector<GemmStreamWeights> AllLayers(std::vector<const void*>* copies) {
    std::vector<GemmStreamWeights> ours(kLayers * kPerLayer);
    const uint16_t* at = weights_.get();
    for (size_t i = 0; i < ours.size(); ++i) {
      copies->push_back(at);
      Describe(at, kMatrices[i % kPerLayer], &ours[i]);
      at += kMatrices[i % kPerLayer].elems();
    }
    return ours;
  }

  // Copies of a matrix that together exceed L2 many times.
  std::vector<const void*> Copies(const Matrix& matrix) const {
    std::vector<const void*> copies;
    const bool head = matrix.elems() > kLayerElems;
    const size_t most = head ? 2 : std::max<size_t>(4, 1500000000 / (matrix.elems() * 2));
    for (size_t i = 0; i < most; ++i) {
      copies.push_back((head ? head_.get() : weights_.get()) + i * matrix.elems());
    }
    return copies;
  }

  void Describe(const void* data, const Matrix& matrix, GemmStreamWeights* out) {
    Require(MakeGemmStreamWeights(data, DType::kBF16, matrix.n, matrix.k, matrix.k, out),
            "MakeGemmStreamWeights");
  }

  void Require(KernelStatus status, const char* what) {
    if (status == KernelStatus::kOk) return;
    std::fprintf(stderr, "%s: status %d, %s\n", what, static_cast<int>(status),
                 cudaGetErrorString(cudaGetLastError()));
    std::exit(1);
  }

  void Ours(const GemmStreamWeights& w, int m, const GemmStreamTuning& tuning, uint16_t* y,
            cudaStream_t stream) {
    GemmStreamArgs args;
    args.x = x_.get();
    args.x_stride = w.k;
    args.y = y;
    args.y_stride = w.n;
    args.m = m;
    args.tuning = tuning;
    Require(GemmStreamSm90(w, args, workspace_->get(), stream), "GemmStreamSm90");
  }

  MatMulArgs LibraryArgs(const Matrix& matrix, const void* w, int m) {
    return {.x = x_.get(), .w = w, .y = y_other_.get(), .m = m, .n = matrix.n, .k = matrix.k};
  }

  void Library(int which, const Matrix& matrix, const void* w, int m, cudaStream_t stream) {
    const Status done = cublas_[which]->MatMul(LibraryArgs(matrix, w, m), stream);
    if (done) return;
    std::fprintf(stderr, "%s\n", done.error().message.c_str());
    std::exit(1);
  }

  void Single(const Matrix& matrix, int m, const std::vector<const void*>& copies,
              const std::vector<GemmStreamWeights>& ours) {
    const int calls = static_cast<int>(copies.size()) * (copies.size() < 4 ? 2 : 1);
    const auto time_ours = [&](const char* name, const GemmStreamTuning& tuning) {
      const double us = TimeGraph(calls, [&](cudaStream_t stream) {
                          for (int i = 0; i < calls; ++i) {
                            Ours(ours[i % ours.size()], m, tuning, y_.get(), stream);
                          }
                        }).median_us;
      Row("single", matrix.name, matrix.n, matrix.k, m, name, us, matrix.elems() * 2.0);
      return us;
    };
    const double plain = time_ours("plain", {});
    const double pdl = time_ours("pdl", {.dependent_launch = true});
    double library[2] = {};
    if (cublas_[1]) {
      const Status tuned = cublas_[1]->Tune(LibraryArgs(matrix, copies[0], m), copies, nullptr);
      if (!tuned) std::printf("%s\n", tuned.error().message.c_str());
    }
    for (int which = 0; which < 2; ++which) {
      if (!cublas_[which]) continue;
      library[which] = TimeGraph(calls, [&](cudaStream_t stream) {
                         for (int i = 0; i < calls; ++i) {
                           Library(which, matrix, copies[i % copies.size()], m, stream);
                         }
                       }).median_us;
      Row("single", matrix.name, matrix.n, matrix.k, m, which ? "cublas best of 8" : "cublas",
          library[which], matrix.elems() * 2.0);
    }
    const double gb_s = matrix.elems() * 2e-3 / pdl;
    std::printf("%-8s %6d %6d %4d | %9.2f %9.2f | %9.2f %9.2f | %4.0f GB/s %5.1f%% x%.3f%s\n",
                matrix.name, int(matrix.n), int(matrix.k), m, plain, pdl, library[0], library[1],
                gb_s, 100 * gb_s / kHbmGBs, library[1] / std::min(plain, pdl),
                Agreement(matrix, m, ours[0], copies[0]).c_str());
    std::fflush(stdout);
  }

  // Every output against the library's.
  std::string Agreement(const Matrix& matrix, int m, const GemmStreamWeights& w, const void* data) {
    if (!cublas_[0]) return "";
    const size_t n = size_t(m) * matrix.n;
    SLIP_CUDA(cudaMemset(y_.get(), 0xFF, n * 2));
    SLIP_CUDA(cudaMemset(compared_.get(), 0, 8));
    Ours(w, m, {}, y_.get(), nullptr);
    Library(0, matrix, data, m, nullptr);
    CompareKernel<<<264, 256>>>(reinterpret_cast<const __nv_bfloat16*>(y_other_.get()),
                                reinterpret_cast<const __nv_bfloat16*>(y_.get()), n,
                                compared_.get());
    float result[2];
    SLIP_CUDA(cudaMemcpy(result, compared_.get(), 8, cudaMemcpyDeviceToHost));
    char text[64];
    std::snprintf(text, sizeof text, "  max diff %.3g of %.3g%s", result[0], result[1],
                  result[0] <= 0.02f * result[1] ? "" : "  WRONG");
    return text;
  }

  void Chain(int m, const char* mode, const std::function<void(cudaStream_t)>& record) {
    const double us = TimeGraph(1, record, 5).median_us;
    Row("chain", "layers", 0, 0, m, mode, us, kLayerElems * 2.0 * kLayers);
    std::printf(" %14.3f", us * 1e-3);
    std::fflush(stdout);
  }

  void Row(const char* suite, const char* what, int64_t n, int64_t k, int m, const char* mode,
           double us, double bytes) {
    if (!csv_) return;
    const double gb_s = bytes * 1e-3 / us;
    std::fprintf(csv_, "%s,%s,%d,%d,%d,%s,%.2f,%.0f,%.3f\n", suite, what, int(n), int(k), m, mode,
                 us, gb_s, gb_s / kHbmGBs);
    std::fflush(csv_);
  }

  FILE* csv_;
  int device_ = 0, sms_ = 0;
  DeviceArray<uint16_t> weights_, head_, x_, y_, y_other_;
  DeviceArray<unsigned char> cublas_workspace_;
  DeviceArray<unsigned> compared_;
  std::unique_ptr<DeviceArray<unsigned char>> workspace_;
  std::unique_ptr<CublasLt> cublas_[2];
};

}  // namespace
}  // namespace slipstream::bench

int main(int argc, char** argv) {
  FILE* csv = argc > 1 ? std::fopen(argv[1], "w") : nullptr;
  if (argc > 1 && !csv) {
    std::perror(argv[1]);
    return 1;
  }
  slipstream::bench::Bench bench(csv);
  if (argc < 3) {
    bench.Ceilings();
    bench.Singles();
    bench.Chains();
  }
  bench.Layers();
  if (csv) std::fclose(csv);
}
