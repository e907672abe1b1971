// For gemm_bench: the chain of 32 layers of a decode step without attention, norms and activation
// either as kernels of their own or in the products' epilogues. Host-side program code: any failure
// ends the program with a message.
#pragma once

#include <vector>

#include "kernels/bench/attention_harness.cuh"
#include "kernels/cuda/gemm/gemm_stream.h"
#include "kernels/cuda/ops/ops.h"

namespace slipstream::bench {

class LayerChain {
 public:
  static constexpr int kMaxTokens = 64;
  static constexpr int kHidden = 4096, kQkv = 6144, kFfn = 14336;

  // `weights`: qkv, o, gate_up and down of one layer after the other.
  LayerChain(const std::vector<kernels::GemmStreamWeights>& weights, void* workspace)
      : weights_(weights),
        workspace_(workspace),
        norm_(std::vector<float>(kHidden, 1.0f)),
        residual_(std::vector<float>(kMaxTokens * kHidden, 1.0f)),
        x_(kMaxTokens * kHidden),
        qkv_(kMaxTokens * kQkv),
        delta_(kMaxTokens * kHidden),
        wide_(kMaxTokens * 2 * kFfn),
        hidden_(kMaxTokens * kFfn),
        partials_(kernels::GemmStreamPartials(kHidden) * kMaxTokens) {}

  void Record(int m, bool fused, const kernels::GemmStreamTuning& tuning, cudaStream_t stream) {
    m_ = m;
    tuning_ = tuning;
    stream_ = stream;
    Require(kernels::RmsNormSm90(
        {residual_.get(), norm_.get(), x_.get(), DType::kF32, DType::kBF16, m, kHidden, kEps},
        tuning.dependent_launch, stream));
    for (size_t i = 0; i < weights_.size(); i += 4) fused ? Fused(i) : Plain(i);
  }

 private:
  static constexpr float kEps = 1e-5f;

  void Plain(size_t i) {
    Product(i, x_, kHidden, qkv_, kQkv, {});
    Product(i + 1, qkv_, kQkv, delta_, kHidden, {});
    AddNorm();
    Product(i + 2, x_, kHidden, wide_, 2 * kFfn, {});
    Require(kernels::GatedActivationSm90({wide_.get(), hidden_.get(), DType::kBF16, m_, kFfn},
                                         tuning_.dependent_launch, stream_));
    Product(i + 3, hidden_, kFfn, delta_, kHidden, {});
    AddNorm();
  }

  void Fused(size_t i) {
    const kernels::GemmStreamEpilogue residual_norm{
        .kind = kernels::GemmEpilogueKind::kResidualNorm,
        .residual = residual_.get(),
        .residual_stride = kHidden,
        .norm_weight = norm_.get(),
        .partials_out = partials_.get()};
    kernels::GemmStreamEpilogue scaled{
        .kind = i == 0 ? kernels::GemmEpilogueKind::kNone : kernels::GemmEpilogueKind::kScale,
        .partials_in = partials_.get(),
        .eps = kEps};
    Product(i, x_, kHidden, qkv_, kQkv, scaled);
    Product(i + 1, qkv_, kQkv, x_, kHidden, residual_norm);
    scaled.kind = kernels::GemmEpilogueKind::kGated;
    Product(i + 2, x_, kHidden, hidden_, kFfn, scaled);
    Product(i + 3, hidden_, kFfn, x_, kHidden, residual_norm);
  }

  void Product(size_t which, const DeviceArray<uint16_t>& x, int64_t x_stride,
               const DeviceArray<uint16_t>& y, int64_t y_stride,
               const kernels::GemmStreamEpilogue& epilogue) {
    kernels::GemmStreamArgs args;
    args.x = x.get();
    args.x_stride = x_stride;
    args.y = y.get();
    args.y_stride = y_stride;
    args.m = m_;
    args.tuning = tuning_;
    args.epilogue = epilogue;
    Require(kernels::GemmStreamSm90(weights_[which], args, workspace_, stream_));
  }

  void AddNorm() {
    Require(kernels::AddRmsNormSm90({residual_.get(), delta_.get(), norm_.get(), x_.get(),
                                     DType::kF32, DType::kBF16, m_, kHidden, kEps},
                                    tuning_.dependent_launch, stream_));
  }

  void Require(kernels::KernelStatus status) {
    if (status == kernels::KernelStatus::kOk) return;
    std::fprintf(stderr, "layer chain: status %d, %s\n", static_cast<int>(status),
                 cudaGetErrorString(cudaGetLastError()));
    std::exit(1);
  }

  const std::vector<kernels::GemmStreamWeights>& weights_;
  void* workspace_;
  DeviceArray<float> norm_, residual_;
  DeviceArray<uint16_t> x_, qkv_, delta_, wide_, hidden_;
  DeviceArray<float> partials_;
  kernels::GemmStreamTuning tuning_;
  cudaStream_t stream_ = nullptr;
  int m_ = 0;
};

}  // namespace slipstream::bench
