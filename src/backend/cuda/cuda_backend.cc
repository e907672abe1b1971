// Ops and steps of the CUDA backend. What it does at load time is in cuda_backend_load.cc.
#include "backend/cuda/cuda_backend.h"

#include "base/check.h"
#include "base/log.h"
#include "kernels/cuda/attention/decode_prefetch.h"
#include "kernels/cuda/attention/prefill_sm90.h"
#include "kernels/cuda/cache/kv_write.h"
#include "kernels/cuda/ops/ops.h"

namespace slipstream {
namespace {

// Up to this many tokens the streaming product wins over the library's, which reads weights for
// large tiles of tokens.
constexpr int64_t kStreamMaxTokens = 64;

// Up to this many tokens early release gained (1 token: 1.6 %), at 16 and more it lost 0.5 %.
constexpr int kEarlyMaxTokens = 4;

void SetWeightsAhead(WeightsAhead mode, int tokens, kernels::GemmStreamTuning* tuning) {
  if (mode == WeightsAhead::kAuto) {
    mode = tokens <= kEarlyMaxTokens ? WeightsAhead::kFullEarly : WeightsAhead::kFull;
  }
  tuning->dependent_launch = true;
  const bool full = mode == WeightsAhead::kFull || mode == WeightsAhead::kFullEarly;
  tuning->stages = full ? 16 : 0;  // 16: more than fit, so as many as do
  tuning->early_release = mode == WeightsAhead::kHalfEarly || mode == WeightsAhead::kFullEarly;
}

double Bytes(const TensorView& view) {
  return static_cast<double>(BytesOf(view.dtype, static_cast<size_t>(view.shape.elems())));
}

kernels::KvCacheView KernelView(const KvLayerView& kv) {
  const int64_t elem = static_cast<int64_t>(BytesOf(kv.dtype, 1));
  return {.k = kv.k,
          .v = kv.v,
          .dtype = kv.dtype,
          .layout = kernels::KvLayout::kSwizzled,
          .block_stride_bytes = kv.block_stride * elem,
          .head_stride_bytes = kv.head_stride * elem,
          .num_blocks = 0,
          .block_size = kv.block_size,
          .num_kv_heads = kv.num_kv_heads,
          .head_dim = kv.head_dim};
}

}  // namespace

void CudaBackend::Check(kernels::KernelStatus status, const char* op, double bytes) {
  if (profiler_.on()) profiler_.Mark(op, bytes, stream_);
  if (status == kernels::KernelStatus::kOk || !step_error_) return;
  const char* why = status == kernels::KernelStatus::kInvalidArgument ? "invalid argument"
                    : status == kernels::KernelStatus::kUnsupported   ? "no kernel for this case"
                                                                      : "launch failed";
  const cudaError_t error = cudaGetLastError();
  step_error_ =
      Internal(std::string(op) + ": " + why +
               (error == cudaSuccess ? "" : std::string(", ") + cudaGetErrorString(error)));
}

// An error that CUDA keeps is one of the device: nothing after it will work.
Status CudaBackend::TakeError(Status status) {
  if (!status && cudaStreamQuery(stream_) != cudaSuccess &&
      cudaStreamQuery(stream_) != cudaErrorNotReady) {
    fatal_ = true;
  }
  return status;
}

Result<StepRows> CudaBackend::BeginStep(const StepArrays& arrays) {
  SLIP_CHECK(inputs_ != nullptr, "a step before ReserveStep");
  step_error_ = {};
  unscaled_ = {};
  SLIP_RETURN_IF_ERROR(TakeError(inputs_->Begin(arrays, options_.graphs, stream_)));
  return inputs_->rows();
}

std::vector<int> CudaBackend::RecordedRows() const {
  return options_.graphs ? inputs_->RecordedRows() : std::vector<int>();
}

Status CudaBackend::IssueStep(const std::function<void()>& ops) {
  const auto issue = [&] {
    profiler_.BeginStep(stream_);
    unscaled_ = {};
    ops();
    return step_error_;
  };
  if (!inputs_->recordable()) return TakeError(issue());
  return TakeError(graphs_.Run(inputs_->rows().tokens, issue, stream_));
}

void CudaBackend::Embed(const EmbeddingTable& table, std::span<const int32_t>, float scale,
                        TensorView out) {
  const auto& t = static_cast<const CudaEmbedding&>(table);
  Check(kernels::EmbedSm90({.table = t.memory->as<std::byte>(),
                            .ids = inputs_->token_ids(),
                            .last_token = sampler_ ? sampler_->last_tokens() : nullptr,
                            .out = out.data,
                            .table_dtype = options_.activation_dtype,
                            .out_dtype = out.dtype,
                            .num_ids = out.dim(0),
                            .vocab_size = t.vocab_size,
                            .hidden = t.hidden,
                            .num_slots = sampler_ ? sampler_->num_slots() : 0,
                            .scale = scale},
                           options_.dependent_launch, stream_),
        "embedding", 2 * Bytes(out));
}

void CudaBackend::MatMul(const Linear& w, TensorView x, TensorView y) {
  Product(static_cast<const CudaLinear&>(w), x, y, {}, "");
}

// Rounding of rows that are not scaled yet is not for f16: they may exceed it.
bool CudaBackend::Fuses(int64_t tokens) const {
  return options_.fused_epilogues && tokens <= kernels::kGemmEpilogueMaxTokens &&
         options_.f32_residual && options_.activation_dtype == DType::kBF16;
}

void CudaBackend::MatMulAddRmsNorm(const Linear& w, TensorView x, TensorView residual,
                                   const float* weight, float eps, TensorView out) {
  const auto& linear = static_cast<const CudaLinear&>(w);
  if (AddsInLibrary() && !Streams(x.dim(0))) {
    FinishProduct(LibraryProduct(linear, x, residual, true), linear, " + residual",
                  Bytes(x) + 2 * Bytes(residual));
    RmsNorm(residual, weight, eps, out);
    return;
  }
  if (!Fuses(x.dim(0))) {
    Backend::MatMulAddRmsNorm(w, x, residual, weight, eps, out);
    return;
  }
  Product(linear, x, out,
          {.kind = kernels::GemmEpilogueKind::kResidualNorm,
           .residual = residual.as<float>(),
           .residual_stride = residual.dim(1),
           .norm_weight = weight,
           .partials_out = square_sums_->as<float>()},
          " + residual norm");
  unscaled_ = {out.data, eps};
}

void CudaBackend::MatMulGated(const Linear& w, TensorView x, ActivationKind kind,
                              TensorView scratch, TensorView out) {
  const auto& linear = static_cast<const CudaLinear&>(w);
  if (linear.interleaved && Fuses(x.dim(0))) {
    Product(
        linear, x, out,
        {.kind = kernels::GemmEpilogueKind::kGated, .gelu_tanh = kind == ActivationKind::kGeluTanh},
        " + activation");
    return;
  }
  MatMul(w, x, scratch);
  Activate(scratch, kind, out, linear.interleaved);
}

// Every product comes through here: which kernel, and whether its inputs are still to be scaled.
void CudaBackend::Product(const CudaLinear& linear, TensorView x, TensorView y,
                          kernels::GemmStreamEpilogue epilogue, const char* epilogue_name) {
  const bool gated = epilogue.kind == kernels::GemmEpilogueKind::kGated;
  SLIP_CHECK(x.dim(1) == linear.stream.k && x.dim(0) == y.dim(0) &&
             y.dim(1) == (gated ? linear.stream.n / 2 : linear.stream.n));
  if (unscaled_.rows == x.data) {
    if (epilogue.kind == kernels::GemmEpilogueKind::kNone) {
      epilogue.kind = kernels::GemmEpilogueKind::kScale;
    }
    epilogue.partials_in = square_sums_->as<float>();
    epilogue.eps = unscaled_.eps;
  }
  Overwrites(y);
  FinishProduct(Streams(x.dim(0)) ? StreamProduct(linear, x, y, epilogue)
                                  : LibraryProduct(linear, x, y, false),
                linear, epilogue_name, Bytes(x) + Bytes(y));
}

bool CudaBackend::Streams(int64_t tokens) const {
  return tokens <= kStreamMaxTokens || cublas_ == nullptr;
}

void CudaBackend::FinishProduct(const Status& done, const CudaLinear& linear,
                                const char* epilogue_name, double activation_bytes) {
  if (profiler_.on()) {
    profiler_.Mark("product " + std::to_string(linear.stream.n) + "x" +
                       std::to_string(linear.stream.k) + epilogue_name,
                   2.0 * static_cast<double>(linear.stream.n * linear.stream.k) + activation_bytes,
                   stream_);
  }
  if (!done && step_error_) step_error_ = done;
}

Status CudaBackend::LibraryProduct(const CudaLinear& linear, TensorView x, TensorView y,
                                   bool accumulate) {
  return cublas_->MatMul({.x = x.data,
                          .w = linear.memory->as<std::byte>(),
                          .y = y.data,
                          .bias = linear.bias ? linear.bias->as<float>() : nullptr,
                          .m = x.dim(0),
                          .n = linear.stream.n,
                          .k = linear.stream.k,
                          .dtype = options_.activation_dtype,
                          .y_dtype = y.dtype,
                          .accumulate = accumulate},
                         stream_);
}

Status CudaBackend::StreamProduct(const CudaLinear& linear, TensorView x, TensorView y,
                                  const kernels::GemmStreamEpilogue& epilogue) {
  kernels::GemmStreamArgs args;
  args.x = x.data;
  args.x_stride = linear.stream.k;
  args.bias = linear.bias ? linear.bias->as<float>() : nullptr;
  args.y = y.data;
  args.y_stride = y.dim(1);
  args.y_dtype = y.dtype;
  args.m = static_cast<int>(x.dim(0));
  args.epilogue = epilogue;
  if (options_.dependent_launch) SetWeightsAhead(options_.weights_ahead, args.m, &args.tuning);
  if (kernels::GemmStreamSm90(linear.stream, args, gemm_workspace_->data(), stream_) !=
      kernels::KernelStatus::kOk) {
    return Internal("the product of " + std::to_string(args.m) + " tokens with " +
                    std::to_string(linear.stream.n) + " x " + std::to_string(linear.stream.k) +
                    " could not be launched");
  }
  return {};
}

void CudaBackend::RmsNorm(TensorView x, const float* weight, float eps, TensorView out) {
  Overwrites(out);
  Check(kernels::RmsNormSm90({.x = x.data,
                              .weight = weight,
                              .out = out.data,
                              .x_dtype = x.dtype,
                              .out_dtype = out.dtype,
                              .rows = x.dim(0),
                              .cols = x.dim(1),
                              .eps = eps},
                             options_.dependent_launch, stream_),
        "norm", Bytes(x) + Bytes(out));
}

void CudaBackend::AddRmsNorm(TensorView residual, TensorView delta, const float* weight, float eps,
                             TensorView out) {
  Overwrites(out);
  Check(kernels::AddRmsNormSm90({.residual = residual.data,
                                 .delta = delta.data,
                                 .weight = weight,
                                 .out = out.data,
                                 .residual_dtype = residual.dtype,
                                 .dtype = out.dtype,
                                 .rows = out.dim(0),
                                 .cols = out.dim(1),
                                 .eps = eps},
                                options_.dependent_launch, stream_),
        "residual norm", 2 * Bytes(residual) + Bytes(delta) + Bytes(out));
}

void CudaBackend::Add(TensorView x, TensorView y) {
  Check(kernels::AddSm90(x.data, x.dtype, y.data, y.dtype, x.shape.elems(),
                         options_.dependent_launch, stream_),
        "add", 2 * Bytes(x) + Bytes(y));
}

void CudaBackend::RopeAndWriteKv(TensorView qkv, int num_heads, const float* q_norm,
                                 const float* k_norm, float eps, const RopeTable* rope,
                                 const AttentionBatch&, const KvLayerView& kv) {
  const int64_t row = qkv.dim(1), q_cols = int64_t{num_heads} * kv.head_dim;
  auto* base = qkv.as<uint16_t>();
  kernels::KvWriteParams p;
  p.q = base;
  p.k = base + q_cols;
  p.v = base + q_cols + int64_t{kv.num_kv_heads} * kv.head_dim;
  p.dtype = qkv.dtype;
  p.q_token_stride = p.k_token_stride = p.v_token_stride = row;
  p.kv = KernelView(kv);
  p.slot_ids = inputs_->slot_ids();
  p.positions = inputs_->positions();
  p.q_norm = q_norm;
  p.k_norm = k_norm;
  p.norm_eps = eps;
  p.num_tokens = static_cast<int>(qkv.dim(0));
  p.num_heads = num_heads;
  if (rope != nullptr) {
    p.cos = rope->cos;
    p.sin = rope->sin;
    p.rotary_dim = rope->rotary_dim;
    p.rope = rope->layout == RopeLayout::kNeox ? kernels::RopeStyle::kNeox
                                               : kernels::RopeStyle::kInterleaved;
  }
  Check(kernels::KvWrite(p, options_.dependent_launch, stream_), "KV write", 2 * Bytes(qkv));
}

void CudaBackend::Attention(TensorView qkv, const KvLayerView& kv, const AttentionBatch&,
                            const AttentionParams& params, TensorView out) {
  const StepInputs::KindPlan& plan = inputs_->plan(params.sliding_window);
  kernels::PagedAttentionParams p;
  p.q = qkv.data;
  p.out = out.data;
  p.q_dtype = qkv.dtype;
  p.q_token_stride = qkv.dim(1);
  p.out_token_stride = out.dim(1);
  p.kv = KernelView(kv);
  p.block_tables = inputs_->block_tables();
  p.kv_len = inputs_->kv_len();
  p.num_heads = params.num_heads;
  p.max_blocks = inputs_->max_blocks();
  p.scale = params.scale;
  p.logit_softcap = params.logit_softcap;
  p.sliding_window = params.sliding_window;
  const double kv_bytes = 2.0 * static_cast<double>(BytesOf(kv.dtype, 1)) * kv.num_kv_heads *
                          kv.head_dim * static_cast<double>(inputs_->num_kv_tokens());
  if (inputs_->num_decode() > 0) {
    p.num_seqs = inputs_->num_decode();
    kernels::DecodeTuning tuning;
    tuning.dependent_launch = options_.dependent_launch;
    if (options_.kv_ahead == KvAhead::kNone) tuning.prefetch_start = -1;
    if (options_.kv_ahead == KvAhead::kRing) tuning.prefetch_start = 0;
    Check(kernels::DecodePrefetchSm90(p, plan.decode, inputs_->plan_data(plan.decode_at),
                                      attention_scratch_->data(), tuning, stream_),
          "decode attention", kv_bytes);
  }
  if (plan.prefill_items > 0) {
    p.num_seqs = inputs_->num_seqs();
    p.query_start = inputs_->query_start();
    p.max_query_len = 0;
    Check(kernels::PrefillSm90(p, plan.prefill, inputs_->plan_data(plan.prefill_at),
                               plan.prefill_items, options_.dependent_launch, stream_),
          "prefill attention", kv_bytes);
  }
}

void CudaBackend::GatedActivation(TensorView gate_up, ActivationKind kind, TensorView out) {
  Activate(gate_up, kind, out, false);
}

void CudaBackend::Activate(TensorView gate_up, ActivationKind kind, TensorView out,
                           bool interleaved) {
  Check(kernels::GatedActivationSm90({.gate_up = gate_up.data,
                                      .out = out.data,
                                      .dtype = out.dtype,
                                      .rows = out.dim(0),
                                      .cols = out.dim(1),
                                      .gelu_tanh = kind == ActivationKind::kGeluTanh,
                                      .interleaved = interleaved},
                                     options_.dependent_launch, stream_),
        "gated activation", Bytes(gate_up) + Bytes(out));
}

void CudaBackend::GatherRows(TensorView x, std::span<const int32_t>, TensorView out) {
  Overwrites(out);
  Check(kernels::GatherRowsSm90(
            {.x = x.data,
             .rows = inputs_->logit_rows(),
             .out = out.data,
             .num_source_rows = x.dim(0),
             .num_rows = out.dim(0),
             .row_bytes = static_cast<int64_t>(BytesOf(x.dtype, static_cast<size_t>(x.dim(1))))},
            options_.dependent_launch, stream_),
        "gather", 2 * Bytes(out));
}

void CudaBackend::SoftCap(TensorView x, float cap) {
  Check(
      kernels::SoftCapSm90(x.as<float>(), x.shape.elems(), cap, options_.dependent_launch, stream_),
      "soft cap", 2 * Bytes(x));
}

void CudaBackend::StartProfile() {
  graphs_.Clear();
  profiler_.Start();
}

Status CudaBackend::Synchronize() {
  SLIP_RETURN_IF_ERROR(step_error_);
  return TakeError(CudaOk(cudaStreamSynchronize(stream_), "the GPU"));
}

}  // namespace slipstream
