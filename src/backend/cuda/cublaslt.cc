#include "backend/cuda/cublaslt.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "backend/cuda/cublaslt_library.h"
#include "kernels/cuda/gemm/round_bias.h"

namespace slipstream {
namespace {

constexpr int kMaxCandidates = 16;
constexpr size_t kBiasBytes = size_t{1} << 20;  // the front of the workspace

Error StatusError(ErrorCode code, const char* what, const MatMulArgs& a, cublasStatus_t status) {
  return {code,
          std::string("cuBLASLt ") + what + " failed with status " + std::to_string(status) +
              " for m=" + std::to_string(a.m) + " n=" + std::to_string(a.n) +
              " k=" + std::to_string(a.k) + " " + NameOf(a.dtype) + " to " + NameOf(a.y_dtype),
          {}};
}

cudaDataType CudaType(DType t) {
  switch (t) {
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

// Products of up to this many tokens share an algorithm: one that was asked for the largest of a
// range has the workspace for all of it.
int64_t RangeOf(int64_t m) {
  int64_t step = 1;
  if (m <= 16) {
    while (step < m) step *= 2;
    return step;
  }
  step = m <= 64 ? 16 : m <= 256 ? 32 : m <= 1024 ? 128 : 512;
  return (m + step - 1) / step * step;
}

using Key =
    std::tuple<int64_t, int64_t, int64_t, DType, DType, bool, bool, int64_t, int64_t, int64_t>;
Key KeyOf(const MatMulArgs& a, int64_t m) {
  return {m,          a.n,        a.k,       a.dtype, a.y_dtype, a.bias != nullptr, a.accumulate,
          a.x_stride, a.w_stride, a.y_stride};
}

MatMulArgs WithStrides(MatMulArgs a) {
  if (a.x_stride == 0) a.x_stride = a.k;
  if (a.w_stride == 0) a.w_stride = a.k;
  if (a.y_stride == 0) a.y_stride = a.n;
  return a;
}

// What describes one product to the library. Column-major there: y^T = (W^T)^T x^T.
class Descriptors {
 public:
  // `bias`: in y_dtype, or null.
  Descriptors(const CublasLtLibrary& lt, const MatMulArgs& a, int64_t m, const void* bias)
      : lt_(lt) {
    const cudaDataType in = CudaType(a.dtype), out = CudaType(a.y_dtype);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    Try(lt.cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    if (ok()) Set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    if (ok() && bias) {
      Set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
      Set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(out));
    }
    if (ok()) Try(lt.cublasLtMatrixLayoutCreate(&w, in, a.k, a.n, a.w_stride));
    if (ok()) Try(lt.cublasLtMatrixLayoutCreate(&x, in, a.k, m, a.x_stride));
    if (ok()) Try(lt.cublasLtMatrixLayoutCreate(&y, out, a.n, m, a.y_stride));
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  ~Descriptors() {
    if (y) lt_.cublasLtMatrixLayoutDestroy(y);
    if (x) lt_.cublasLtMatrixLayoutDestroy(x);
    if (w) lt_.cublasLtMatrixLayoutDestroy(w);
    if (product) lt_.cublasLtMatmulDescDestroy(product);
  }

  bool ok() const { return status == CUBLAS_STATUS_SUCCESS; }

  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;

 private:
  void Try(cublasStatus_t s) {
    if (ok()) status = s;
  }
  template <typename T>
  void Set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    Try(lt_.cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof(value)));
  }
  const CublasLtLibrary& lt_;
};

// cudaEvent_t pair that frees itself.
struct Stopwatch {
  Stopwatch() {
    cudaEventCreate(&begin);
    cudaEventCreate(&end);
  }
  ~Stopwatch() {
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
  }
  cudaEvent_t begin = nullptr, end = nullptr;
};

}  // namespace

class CublasLt::Impl {
 public:
  Impl(const CublasLtLibrary& lt, void* workspace, size_t workspace_bytes)
      : lt_(lt),
        bias_(workspace),
        workspace_(static_cast<std::byte*>(workspace) + kBiasBytes),
        workspace_bytes_(workspace_bytes - kBiasBytes) {}
  ~Impl() {
    if (handle_) lt_.cublasLtDestroy(handle_);
  }

  Status Start() {
    const cublasStatus_t status = lt_.cublasLtCreate(&handle_);
    if (status == CUBLAS_STATUS_SUCCESS) return {};
    return Fail(ErrorCode::kUnavailable,
                "cuBLASLt does not start: status " + std::to_string(status));
  }

  Status MatMul(const MatMulArgs& a, cudaStream_t stream) {
    auto at = algorithms_.find(KeyOf(a, a.m));  // an algorithm for this very m, if one was needed
    if (at != algorithms_.end()) return Run(a, at->second, stream);
    const int64_t range = RangeOf(a.m);
    at = algorithms_.find(KeyOf(a, range));
    if (at == algorithms_.end()) {
      SLIP_ASSIGN_OR_RETURN(const Candidates best, Ask(a, range, 1));
      at = algorithms_.emplace(KeyOf(a, range), best.front()).first;
    }
    Status done = Run(a, at->second, stream);
    if (done || range == a.m) return done;
    // The range's algorithm does not fit this m.
    SLIP_ASSIGN_OR_RETURN(const Candidates exact, Ask(a, a.m, 1));
    at = algorithms_.emplace(KeyOf(a, a.m), exact.front()).first;
    return Run(a, at->second, stream);
  }

  Status Tune(const MatMulArgs& a, std::span<const void* const> weights, cudaStream_t stream,
              int candidates) {
    const int64_t range = RangeOf(a.m);
    const bool many = a.m >= kManyTokens;
    if (many) candidates = std::min(candidates, kManyCandidates);
    SLIP_ASSIGN_OR_RETURN(const Candidates all, Ask(a, range, candidates));
    Stopwatch watch;
    std::vector<float> ms(all.size(), 0.0f);
    const auto race = [&](size_t i, int runs) {
      float took = 0;
      const bool done = Time(a, all[i], runs, weights, stream, watch, &took);
      ms[i] = done ? ms[i] + took : std::numeric_limits<float>::infinity();
    };
    // A card that has idled runs faster than one that works, and the first to race is no better
    // for it: so a lap that does not count, until the clock has settled, and every lap once more.
    if (many) {
      race(0, kLap);
      if (ms[0] < kSettleMs) race(0, static_cast<int>(kLap * kSettleMs / ms[0]));
      ms[0] = 0;
    }
    for (int lap = 0; lap < 2; ++lap) {
      for (size_t i = 0; i < all.size(); ++i) race(i, kLap);
    }
    const size_t best = std::min_element(ms.begin(), ms.end()) - ms.begin();
    if (!std::isfinite(ms[best])) {
      return tl::unexpected(
          StatusError(ErrorCode::kUnimplemented, "tuning", a, CUBLAS_STATUS_NOT_SUPPORTED));
    }
    algorithms_[KeyOf(a, range)] = all[best];
    return {};
  }

 private:
  using Candidates = std::vector<cublasLtMatmulAlgo_t>;

  static constexpr int kLap = 6;               // products
  static constexpr int64_t kManyTokens = 256;  // bound by arithmetic, so by the card's power
  // Candidates for these: timed for 80 ms each at 512, 1024 and 2048 tokens, no later choice of the
  // library won by more than 0.5 %.
  static constexpr int kManyCandidates = 4;
  static constexpr float kSettleMs = 4;

  // The library adds a bias of the type of y alone.
  const void* BiasOf(const MatMulArgs& a) const {
    return !a.bias || a.y_dtype == DType::kF32 ? static_cast<const void*>(a.bias) : bias_;
  }

  // The library's first choices for `m` tokens, best first; at least one.
  Result<Candidates> Ask(const MatMulArgs& a, int64_t m, int count) {
    const Descriptors d(lt_, a, m, BiasOf(a));
    if (!d.ok()) {
      return tl::unexpected(StatusError(ErrorCode::kInternal, "description", a, d.status));
    }
    cublasLtMatmulPreference_t preference = nullptr;
    cublasStatus_t status = lt_.cublasLtMatmulPreferenceCreate(&preference);
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      if (status == CUBLAS_STATUS_SUCCESS) {
        status =
            lt_.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value));
      }
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{workspace_bytes_});
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(attribute, uint32_t{16});
    }
    std::array<cublasLtMatmulHeuristicResult_t, kMaxCandidates> found{};
    int num_found = 0;
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = lt_.cublasLtMatmulAlgoGetHeuristic(handle_, d.product, d.w, d.x, d.y, d.y,
                                                  preference, std::min(count, kMaxCandidates),
                                                  found.data(), &num_found);
    }
    if (preference) lt_.cublasLtMatmulPreferenceDestroy(preference);
    Candidates algorithms;
    for (int i = 0; i < num_found; ++i) {
      if (found[i].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(found[i].algo);
    }
    if (algorithms.empty()) {
      return tl::unexpected(
          StatusError(ErrorCode::kUnimplemented, "search for an algorithm", a, status));
    }
    return algorithms;
  }

  Status Run(const MatMulArgs& a, const cublasLtMatmulAlgo_t& algorithm, cudaStream_t stream) {
    const Descriptors d(lt_, a, a.m, BiasOf(a));
    if (!d.ok()) {
      return tl::unexpected(StatusError(ErrorCode::kInternal, "description", a, d.status));
    }
    if (a.bias && a.y_dtype != DType::kF32) {
      const size_t bytes = a.n * sizeof(uint16_t);
      if (bytes > kBiasBytes ||
          kernels::RoundBias(a.bias, a.n, a.y_dtype, bias_, stream) != kernels::KernelStatus::kOk) {
        return tl::unexpected(StatusError(ErrorCode::kInternal, "bias", a, CUBLAS_STATUS_SUCCESS));
      }
    }
    const float one = 1.0f, old = a.accumulate ? 1.0f : 0.0f;
    const cublasStatus_t status =
        lt_.cublasLtMatmul(handle_, d.product, &one, a.w, d.w, a.x, d.x, &old, a.y, d.y, a.y, d.y,
                           &algorithm, workspace_, workspace_bytes_, stream);
    if (status == CUBLAS_STATUS_SUCCESS) return {};
    return tl::unexpected(StatusError(ErrorCode::kInternal, "launch", a, status));
  }

  bool Time(MatMulArgs a, const cublasLtMatmulAlgo_t& algorithm, int runs,
            std::span<const void* const> weights, cudaStream_t stream, const Stopwatch& watch,
            float* ms) {
    constexpr int kWarm = 2;
    for (int i = 0; i < kWarm + runs; ++i) {
      if (i == kWarm) cudaEventRecord(watch.begin, stream);
      if (!weights.empty()) a.w = weights[i % weights.size()];
      if (!Run(a, algorithm, stream)) return false;
    }
    cudaEventRecord(watch.end, stream);
    return cudaEventSynchronize(watch.end) == cudaSuccess &&
           cudaEventElapsedTime(ms, watch.begin, watch.end) == cudaSuccess;
  }

  const CublasLtLibrary& lt_;
  cublasLtHandle_t handle_ = nullptr;
  void* bias_;
  std::byte* workspace_;
  size_t workspace_bytes_;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
};

CublasLt::CublasLt(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CublasLt::~CublasLt() = default;

Result<std::unique_ptr<CublasLt>> CublasLt::Make(void* workspace, size_t workspace_bytes) {
  if (workspace_bytes < kBiasBytes) {
    return Internal("the workspace of cuBLASLt must hold at least 1 MiB");
  }
  SLIP_ASSIGN_OR_RETURN(const CublasLtLibrary* library, LoadCublasLt());
  auto impl = std::make_unique<Impl>(*library, workspace, workspace_bytes);
  SLIP_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<CublasLt>(new CublasLt(std::move(impl)));
}

Status CublasLt::MatMul(const MatMulArgs& args, cudaStream_t stream) {
  return impl_->MatMul(WithStrides(args), stream);
}

Status CublasLt::Tune(const MatMulArgs& args, std::span<const void* const> weights,
                      cudaStream_t stream, int candidates) {
  return impl_->Tune(WithStrides(args), weights, stream, candidates);
}

}  // namespace slipstream
