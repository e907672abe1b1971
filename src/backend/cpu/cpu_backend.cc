#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace slipstream {

using kernels::ActForm;
using kernels::Part;

namespace {

// Below this many float operations' worth of elements a fork and join costs more than it saves.
constexpr int64_t kSerialElems = 8192;

kernels::CpuKvView ViewOf(const KvLayerView& kv) {
  return {kv.k,           kv.v,          kv.dtype,        kv.block_stride,
          kv.head_stride, kv.block_size, kv.num_kv_heads, kv.head_dim};
}

}  // namespace

CpuBackend::CpuBackend(const kernels::CpuKernels& kernels, int num_threads)
    : kernels_(kernels),
      name_(kernels.name),
      pool_(num_threads),
      arena_(std::make_shared<Arena>(/*huge_pages=*/true)) {}

template <typename Fn>
void CpuBackend::RunSized(int64_t elems, Fn&& fn) {
  if (elems < kSerialElems) {
    fn(Part{0, 1});
  } else {
    pool_.Run(fn);
  }
}

void CpuBackend::NoMemory(const char* op) {
  if (error_.empty()) error_ = std::string("out of memory for the workspace of ") + op;
}

void CpuBackend::Embed(const EmbeddingTable& table, std::span<const int32_t> ids, float scale,
                       TensorView out) {
  const auto& matrix = static_cast<const CpuEmbedding&>(table).matrix();
  for (const int32_t id : ids) SLIP_CHECK(id >= 0 && id < matrix.rows, "token id %d", id);
  const kernels::EmbedParams p{&matrix, ids.data(), static_cast<int64_t>(ids.size()), scale,
                               out.as<float>()};
  RunSized(p.n * matrix.cols, [&](Part part) { kernels_.embed(p, part); });
}

bool CpuBackend::Prepare(ActForm form, TensorView x, kernels::PreparedRows* out) {
  const int64_t rows = x.dim(0), cols = x.dim(1);
  void* memory = nullptr;
  if (form != ActForm::kF32) {
    memory = prepared_[static_cast<int>(form)].Reserve(kernels::PreparedBytes(form, rows, cols));
    if (memory == nullptr) return false;
  }
  *out = kernels::BindPrepared(form, x.as<float>(), cols, rows, cols, memory);
  if (form == ActForm::kF32) return true;
  RunSized(rows * cols, [&](Part part) { kernels_.prepare(*out, part); });
  return true;
}

void CpuBackend::MatMul(const Linear& w, TensorView x, TensorView y) {
  const auto& linear = static_cast<const CpuLinear&>(w);
  SLIP_CHECK(x.dim(1) == w.in_features() && y.dim(1) == w.out_features() && x.dim(0) == y.dim(0),
             "matrix product shapes");
  if (x.dim(0) == 0) return;
  constexpr int kMaxSegments = 8;
  const auto segments = linear.segments();
  SLIP_CHECK(segments.size() <= kMaxSegments, "%zu parts", segments.size());
  kernels::PreparedRows prepared[3];
  bool ready[3] = {};
  kernels::GemmParams gemms[kMaxSegments];
  size_t scratch_bytes = 0;
  for (const LinearSegment& s : segments) {
    scratch_bytes = std::max(scratch_bytes, kernels::GemmScratchBytes(s.matrix));
  }
  void* scratch = gemm_scratch_.Reserve(scratch_bytes * static_cast<size_t>(pool_.size()) + 64);
  if (scratch == nullptr) return NoMemory("a matrix product");
  for (size_t i = 0; i < segments.size(); ++i) {
    const LinearSegment& s = segments[i];
    const int form = static_cast<int>(kernels_.act_form(s.matrix.dtype));
    if (!ready[form] && !Prepare(static_cast<ActForm>(form), x, &prepared[form])) {
      return NoMemory("a matrix product");
    }
    ready[form] = true;
    gemms[i] = {&s.matrix,
                prepared[form],
                y.as<float>() + s.first_row,
                y.dim(1),
                linear.bias() == nullptr ? nullptr : linear.bias() + s.first_row,
                scratch};
  }
  pool_.Run([&](Part part) {
    for (size_t i = 0; i < segments.size(); ++i) kernels_.gemm(gemms[i], part);
  });
}

void CpuBackend::RmsNorm(TensorView x, const float* weight, float eps, TensorView out) {
  const kernels::RmsNormParams p{x.as<float>(), nullptr,  weight, out.as<float>(),
                                 x.dim(0),      x.dim(1), eps};
  RunSized(x.shape.elems(), [&](Part part) { kernels_.rms_norm(p, part); });
}

void CpuBackend::AddRmsNorm(TensorView residual, TensorView delta, const float* weight, float eps,
                            TensorView out) {
  SLIP_CHECK(residual.shape == delta.shape && delta.shape == out.shape, "shapes differ");
  const kernels::RmsNormParams p{delta.as<float>(), residual.as<float>(), weight, out.as<float>(),
                                 delta.dim(0),      delta.dim(1),         eps};
  RunSized(delta.shape.elems(), [&](Part part) { kernels_.rms_norm(p, part); });
}

void CpuBackend::Add(TensorView x, TensorView y) {
  SLIP_CHECK(x.shape == y.shape, "shapes differ");
  const kernels::AddParams p{x.as<float>(), y.as<float>(), x.shape.elems()};
  RunSized(p.elems, [&](Part part) { kernels_.add(p, part); });
}

void CpuBackend::RopeAndWriteKv(TensorView qkv, int num_heads, const float* q_norm,
                                const float* k_norm, float eps, const RopeTable* rope,
                                const AttentionBatch& batch, const KvLayerView& kv) {
  SLIP_CHECK(qkv.dim(1) == (num_heads + 2 * kv.num_kv_heads) * static_cast<int64_t>(kv.head_dim),
             "qkv has %ld columns", static_cast<long>(qkv.dim(1)));
  kernels::RopeKvParams p;
  p.qkv = qkv.as<float>();
  p.num_tokens = qkv.dim(0);
  p.num_heads = num_heads;
  p.q_norm = q_norm;
  p.k_norm = k_norm;
  p.eps = eps;
  if (rope != nullptr) {
    p.cos = rope->cos;
    p.sin = rope->sin;
    p.rotary_dim = rope->rotary_dim;
    p.interleaved = rope->layout == RopeLayout::kInterleaved;
  }
  p.positions = batch.positions;
  p.slot_ids = batch.slot_ids;
  p.kv = ViewOf(kv);
  RunSized(qkv.shape.elems(), [&](Part part) { kernels_.rope_kv(p, part); });
}

void CpuBackend::Attention(TensorView qkv, const KvLayerView& kv, const AttentionBatch& batch,
                           const AttentionParams& params, TensorView out) {
  SLIP_CHECK(params.num_heads % kv.num_kv_heads == 0, "%d heads", params.num_heads);
  kernels::CpuAttentionParams p;
  p.q = qkv.as<float>();
  p.q_stride = qkv.dim(1);
  p.out = out.as<float>();
  p.kv = ViewOf(kv);
  p.num_heads = params.num_heads;
  p.num_seqs = batch.num_seqs;
  p.query_start = batch.query_start;
  p.kv_len = batch.kv_len;
  p.block_tables = batch.block_tables;
  p.max_blocks = batch.max_blocks;
  p.scale = params.scale;
  p.sliding_window = params.sliding_window;
  p.logit_softcap = params.logit_softcap;
  const size_t partial_bytes = kernels::AttentionPartialBytes(p);
  p.partials = static_cast<float*>(attention_partials_.Reserve(partial_bytes + 64));
  p.scratch = static_cast<float*>(attention_scratch_.Reserve(kernels::AttentionScratchBytes(p) *
                                                             static_cast<size_t>(pool_.size())));
  if (p.partials == nullptr || p.scratch == nullptr) return NoMemory("attention");
  int64_t scores = 0;
  for (int s = 0; s < p.num_seqs; ++s) {
    scores += static_cast<int64_t>(p.query_start[s + 1] - p.query_start[s]) * p.kv_len[s];
  }
  // A score costs about head_dim elements' work per head.
  RunSized(scores * p.num_heads * 8, [&](Part part) { kernels_.attention(p, part); });
  if (partial_bytes > 0) {
    RunSized(static_cast<int64_t>(partial_bytes / sizeof(float)),
             [&](Part part) { kernels_.attention_combine(p, part); });
  }
}

void CpuBackend::GatedActivation(TensorView gate_up, ActivationKind kind, TensorView out) {
  SLIP_CHECK(gate_up.dim(1) == 2 * out.dim(1) && gate_up.dim(0) == out.dim(0),
             "gate_up must be twice as wide as out");
  const kernels::GatedActivationParams p{gate_up.as<float>(), out.as<float>(), out.dim(0),
                                         out.dim(1), kind == ActivationKind::kGeluTanh};
  RunSized(out.shape.elems() * 4, [&](Part part) { kernels_.gated_activation(p, part); });
}

void CpuBackend::GatherRows(TensorView x, std::span<const int32_t> rows, TensorView out) {
  const int64_t cols = x.dim(1);
  for (size_t i = 0; i < rows.size(); ++i) {
    SLIP_CHECK(rows[i] >= 0 && rows[i] < x.dim(0), "row %d", rows[i]);
    std::memcpy(out.as<float>() + static_cast<int64_t>(i) * cols, x.as<float>() + rows[i] * cols,
                static_cast<size_t>(cols) * sizeof(float));
  }
}

void CpuBackend::SoftCap(TensorView x, float cap) {
  const kernels::SoftCapParams p{x.as<float>(), x.shape.elems(), cap};
  RunSized(p.elems * 4, [&](Part part) { kernels_.soft_cap(p, part); });
}

Status CpuBackend::Synchronize() {
  if (error_.empty()) return {};
  std::string message;
  message.swap(error_);
  return Fail(ErrorCode::kResourceExhausted, std::move(message));
}

}  // namespace slipstream
