#include "model/decoder_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <utility>

#include "base/check.h"
#include "model/arch_spec.h"
#include "model/decoder_weights.h"
#include "model/rope_table.h"

namespace slipstream {
namespace {

// What a layer's attention does apart from its weights.
struct LayerPlan {
  AttentionParams attention;
  RopeCache* rope = nullptr;
};

// Hugging Face rounds sqrt(hidden_size) to the weights' type before it multiplies.
float EmbeddingScale(int64_t hidden_size, DType weights) {
  const float exact = std::sqrt(static_cast<float>(hidden_size));
  if (weights == DType::kBF16) {
    const uint32_t bits = std::bit_cast<uint32_t>(exact);
    return std::bit_cast<float>((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
  }
  if (weights == DType::kF16) {
    // 11 significant bits; the scale is far from f16's subnormals and its maximum.
    const uint32_t bits = std::bit_cast<uint32_t>(exact);
    return std::bit_cast<float>((bits + 0xfffu + ((bits >> 13) & 1u)) & 0xffffe000u);
  }
  return exact;
}

Result<ActivationKind> ActivationOf(const std::string& name) {
  if (name == "silu") return ActivationKind::kSilu;
  if (name == "gelu_pytorch_tanh") return ActivationKind::kGeluTanh;
  return Fail(ErrorCode::kUnimplemented,
              "unknown activation \"" + name + "\"; known are silu, gelu_pytorch_tanh");
}

class OpByOpModel final : public DecoderModel {
 public:
  OpByOpModel(const ModelConfig& config, const ArchSpec& spec, DecoderWeights weights,
              Backend& backend)
      : config_(config), spec_(spec), weights_(std::move(weights)), backend_(backend) {}

  Status Plan();

  const ModelConfig& config() const override { return config_; }
  int64_t kv_bytes_per_token(DType kv_dtype) const override {
    const int64_t elems = 2 * config_.num_layers * config_.num_kv_heads * config_.head_dim;
    return static_cast<int64_t>(BytesOf(kv_dtype, static_cast<size_t>(elems)));
  }
  Status Reserve(const StepLimits& limits) override;
  Result<TensorView> Forward(const ModelInput& input, std::span<const KvLayerView> kv) override;
  TensorView hidden() const override { return last_hidden_; }
  Result<TensorView> Logits(int64_t begin, int64_t count) override;

 private:
  // Activations of a step. `x` is the residual stream, `h` what the next matrix reads.
  struct Activations {
    int64_t rows = 0;
    TensorView x, h;
  };

  Status CheckInput(const ModelInput& input, std::span<const KvLayerView> kv) const;
  ModelShape Shape() const;
  void IssueOps(const ModelInput& input, std::span<const KvLayerView> kv, StepRows rows);
  Status CoverPositions(const AttentionBatch& batch);
  TensorView Attend(size_t layer, const ModelInput& input, const KvLayerView& kv,
                    const Activations& act, bool needs_output);
  void KeepLogitRows(std::span<const int32_t> rows, int64_t count, Activations& act,
                     TensorView& attended);
  void FinishLayer(size_t layer, TensorView attended, const Activations& act);
  const float* NormBefore(size_t layer) const {
    return layer < weights_.layers.size() ? weights_.layers[layer].attn_norm.data()
                                          : weights_.final_norm.data();
  }
  TensorView View(const std::unique_ptr<Buffer>& memory, int64_t rows, int64_t cols) const {
    return {memory->data(), backend_.activation_dtype(), {rows, cols}};
  }
  TensorView ResidualView(const std::unique_ptr<Buffer>& memory, int64_t rows) const {
    return {memory->data(), backend_.residual_dtype(), {rows, config_.hidden_size}};
  }
  TensorView LogitsView(int64_t rows) const {
    return {logits_->data(), DType::kF32, {rows, config_.vocab_size}};
  }
  TensorView LogitsOf(const ModelInput& input, StepRows rows) const;
  void IssueLogits(int64_t begin, TensorView out);
  int64_t q_cols() const { return config_.num_heads * config_.head_dim; }
  int64_t qkv_cols() const {
    return (config_.num_heads + 2 * config_.num_kv_heads) * config_.head_dim;
  }

  const ModelConfig config_;
  const ArchSpec& spec_;
  DecoderWeights weights_;
  Backend& backend_;
  ActivationKind activation_ = ActivationKind::kSilu;
  float embedding_scale_ = 1.0f;
  std::unique_ptr<RopeCache> rope_, local_rope_;
  std::vector<LayerPlan> plans_;

  int max_tokens_ = 0, max_logit_rows_ = 0;
  std::unique_ptr<Buffer> residual_, normed_, qkv_, attended_, gate_up_, activated_, logits_;
  TensorView last_hidden_;  // [logit_rows, hidden] of the last Forward, after the final norm
};

Status OpByOpModel::Plan() {
  SLIP_ASSIGN_OR_RETURN(activation_, ActivationOf(config_.hidden_act));
  if (spec_.scale_embedding) {
    embedding_scale_ = EmbeddingScale(config_.hidden_size, weights_.embedding_dtype);
  }
  const RopeLayout layout = config_.rope_interleaved ? RopeLayout::kInterleaved : RopeLayout::kNeox;
  SLIP_ASSIGN_OR_RETURN(
      RopeFrequencies global,
      ComputeRopeFrequencies(config_.rope, config_.head_dim, config_.max_position_embeddings));
  rope_ = std::make_unique<RopeCache>(std::move(global), layout);
  if (config_.rope_local_theta) {
    SLIP_ASSIGN_OR_RETURN(
        RopeFrequencies local,
        ComputeRopeFrequencies(RopeConfig{.theta = *config_.rope_local_theta}, config_.head_dim,
                               config_.max_position_embeddings));
    local_rope_ = std::make_unique<RopeCache>(std::move(local), layout);
  }
  const auto& windows = config_.layer_uses_window;
  if (!windows.empty() && static_cast<int64_t>(windows.size()) != config_.num_layers) {
    return InvalidArgument("layer_types names " + std::to_string(windows.size()) + " layers of " +
                           std::to_string(config_.num_layers));
  }
  const double scalar = config_.query_pre_attn_scalar > 0.0 ? config_.query_pre_attn_scalar
                                                            : static_cast<double>(config_.head_dim);
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    const bool windowed = config_.sliding_window > 0 && (windows.empty() || windows[i]);
    LayerPlan& plan = plans_.emplace_back();
    plan.attention.num_heads = static_cast<int>(config_.num_heads);
    plan.attention.scale = static_cast<float>(1.0 / std::sqrt(scalar));
    plan.attention.sliding_window = windowed ? static_cast<int>(config_.sliding_window) : 0;
    plan.attention.logit_softcap = static_cast<float>(config_.attn_logit_softcap);
    plan.rope = windowed && local_rope_ ? local_rope_.get() : rope_.get();
  }
  return {};
}

ModelShape OpByOpModel::Shape() const {
  ModelShape shape{.vocab_size = config_.vocab_size,
                   .hidden_size = config_.hidden_size,
                   .num_heads = static_cast<int>(config_.num_heads),
                   .num_kv_heads = static_cast<int>(config_.num_kv_heads),
                   .head_dim = static_cast<int>(config_.head_dim),
                   .kinds = {}};
  for (const LayerPlan& plan : plans_) {
    const bool known = std::any_of(shape.kinds.begin(), shape.kinds.end(), [&](const auto& kind) {
      return kind.sliding_window == plan.attention.sliding_window;
    });
    if (!known) shape.kinds.push_back(plan.attention);
  }
  return shape;
}

Status OpByOpModel::Reserve(const StepLimits& limits) {
  const int64_t n = limits.max_tokens, logit_rows = limits.max_logit_rows;
  SLIP_CHECK(n > 0 && logit_rows > 0, "Reserve needs room for something");
  const size_t elem = BytesOf(backend_.activation_dtype(), 1);
  const size_t widest = std::max(elem, BytesOf(backend_.residual_dtype(), 1));
  const auto allocate = [&](std::unique_ptr<Buffer>& out, int64_t rows, int64_t cols,
                            size_t elem_bytes) -> Status {
    SLIP_ASSIGN_OR_RETURN(out, backend_.Allocate(static_cast<size_t>(rows * cols) * elem_bytes));
    return {};
  };
  // Rows of x and of h change places when only those with logits go on.
  SLIP_RETURN_IF_ERROR(allocate(residual_, n, config_.hidden_size, widest));
  SLIP_RETURN_IF_ERROR(allocate(normed_, n, config_.hidden_size, widest));
  SLIP_RETURN_IF_ERROR(allocate(qkv_, n, qkv_cols(), elem));
  SLIP_RETURN_IF_ERROR(allocate(attended_, n, q_cols(), elem));
  SLIP_RETURN_IF_ERROR(allocate(gate_up_, n, 2 * config_.intermediate_size, elem));
  SLIP_RETURN_IF_ERROR(allocate(activated_, n, config_.intermediate_size, elem));
  SLIP_RETURN_IF_ERROR(allocate(logits_, logit_rows, config_.vocab_size, sizeof(float)));
  SLIP_RETURN_IF_ERROR(backend_.ReserveStep(limits, Shape()));
  if (limits.max_positions > 0 && backend_.max_steps_in_flight() > 1) {
    // Tables must not move under steps that are still running.
    SLIP_RETURN_IF_ERROR(rope_->Cover(limits.max_positions, backend_));
    if (local_rope_) SLIP_RETURN_IF_ERROR(local_rope_->Cover(limits.max_positions, backend_));
  }
  max_tokens_ = limits.max_tokens;
  max_logit_rows_ = limits.max_logit_rows;
  return {};
}

Status OpByOpModel::CheckInput(const ModelInput& input, std::span<const KvLayerView> kv) const {
  const size_t num_tokens = input.token_ids.size();
  if (num_tokens == 0 || num_tokens > static_cast<size_t>(max_tokens_)) {
    return Internal("step of " + std::to_string(num_tokens) + " tokens; the model was sized for " +
                    std::to_string(max_tokens_));
  }
  if (kv.size() != weights_.layers.size()) {
    return Internal("KV cache of " + std::to_string(kv.size()) + " layers for a model of " +
                    std::to_string(weights_.layers.size()));
  }
  const int32_t lowest = backend_.max_steps_in_flight() > 1 ? INT32_MIN : 0;
  for (const int32_t id : input.token_ids) {
    if (id < lowest || id >= config_.vocab_size) {
      return InvalidArgument("token id " + std::to_string(id) + " is outside the vocabulary of " +
                             std::to_string(config_.vocab_size));
    }
  }
  int32_t previous = -1;
  for (const int32_t row : input.logit_rows) {
    if (row <= previous || static_cast<size_t>(row) >= num_tokens) {
      return Internal("logit row " + std::to_string(row) + " is out of order or range");
    }
    previous = row;
  }
  return {};
}

Status OpByOpModel::CoverPositions(const AttentionBatch& batch) {
  const int32_t* end = batch.positions + batch.num_tokens;
  const int64_t needed = 1 + static_cast<int64_t>(*std::max_element(batch.positions, end));
  SLIP_RETURN_IF_ERROR(rope_->Cover(needed, backend_));
  if (local_rope_) SLIP_RETURN_IF_ERROR(local_rope_->Cover(needed, backend_));
  return {};
}

// h -> attention output [rows, num_heads * head_dim]. Without `needs_output` it only fills the KV
// cache: what follows the last layer's K and V is wasted on tokens that nobody samples after.
TensorView OpByOpModel::Attend(size_t layer, const ModelInput& input, const KvLayerView& kv,
                               const Activations& act, bool needs_output) {
  const LayerWeights& w = weights_.layers[layer];
  const LayerPlan& plan = plans_[layer];
  const TensorView qkv = View(qkv_, act.rows, qkv_cols());
  backend_.MatMul(*w.qkv, act.h, qkv);
  backend_.RopeAndWriteKv(qkv, plan.attention.num_heads, w.q_norm.data(), w.k_norm.data(),
                          config_.rms_norm_eps, &plan.rope->table(), input.batch, kv);
  const TensorView out = View(attended_, act.rows, q_cols());
  if (needs_output) backend_.Attention(qkv, kv, input.batch, plan.attention, out);
  return out;
}

// After the last attention rows no longer see each other, so only those whose logits are wanted go
// on. qkv and h are free by now and hold the gathered rows.
void OpByOpModel::KeepLogitRows(std::span<const int32_t> rows, int64_t count, Activations& act,
                                TensorView& attended) {
  if (count == act.rows) return;
  const TensorView kept_attended = View(qkv_, count, q_cols());
  const TensorView kept_x = ResidualView(normed_, count);
  backend_.GatherRows(attended, rows, kept_attended);
  backend_.GatherRows(act.x, rows, kept_x);
  attended = kept_attended;
  act = {count, kept_x, View(residual_, count, config_.hidden_size)};
}

// Output projection, MLP and the norm in front of the next layer.
void OpByOpModel::FinishLayer(size_t layer, TensorView attended, const Activations& act) {
  const LayerWeights& w = weights_.layers[layer];
  const float eps = config_.rms_norm_eps;
  const bool sandwich = spec_.norms == NormPlacement::kSandwich;
  if (sandwich) {
    backend_.MatMul(*w.o, attended, act.h);
    backend_.RmsNorm(act.h, w.post_attn_norm.data(), eps, act.h);
    backend_.AddRmsNorm(act.x, act.h, w.ffn_norm.data(), eps, act.h);
  } else {
    backend_.MatMulAddRmsNorm(*w.o, attended, act.x, w.ffn_norm.data(), eps, act.h);
  }

  const TensorView gate_up = View(gate_up_, act.rows, 2 * config_.intermediate_size);
  const TensorView activated = View(activated_, act.rows, config_.intermediate_size);
  backend_.MatMulGated(*w.gate_up, act.h, activation_, gate_up, activated);
  // Others than products read the final hidden states.
  const bool last = layer + 1 == weights_.layers.size();
  if (sandwich || last) {
    backend_.MatMul(*w.down, activated, act.h);
    if (sandwich) backend_.RmsNorm(act.h, w.post_ffn_norm.data(), eps, act.h);
    backend_.AddRmsNorm(act.x, act.h, NormBefore(layer + 1), eps, act.h);
  } else {
    backend_.MatMulAddRmsNorm(*w.down, activated, act.x, NormBefore(layer + 1), eps, act.h);
  }
}

void OpByOpModel::IssueOps(const ModelInput& input, std::span<const KvLayerView> kv,
                           StepRows rows) {
  Activations act{rows.tokens, ResidualView(residual_, rows.tokens),
                  View(normed_, rows.tokens, config_.hidden_size)};
  backend_.Embed(*weights_.embedding, input.token_ids, embedding_scale_, act.x);
  backend_.RmsNorm(act.x, NormBefore(0), config_.rms_norm_eps, act.h);
  const size_t num_layers = weights_.layers.size();
  for (size_t layer = 0; layer < num_layers; ++layer) {
    const bool last = layer + 1 == num_layers;
    const bool wanted = !last || rows.logits > 0;
    TensorView attended = Attend(layer, input, kv[layer], act, wanted);
    if (!wanted) return;
    if (last) KeepLogitRows(input.logit_rows, rows.logits, act, attended);
    FinishLayer(layer, attended, act);
  }
  IssueLogits(0, LogitsOf(input, rows));
}

// What Forward computes and returns. Steps of single queries always have logits: a backend may
// replay a recording of another such step, which has the ops of both.
TensorView OpByOpModel::LogitsOf(const ModelInput& input, StepRows rows) const {
  const bool single_queries = input.batch.num_tokens == input.batch.num_seqs;
  if (input.hidden_wanted && !single_queries) return LogitsView(0);
  return LogitsView(std::min<int64_t>(rows.logits, max_logit_rows_));
}

// The final hidden states lie where the last layer left them: in `normed_`, or in `residual_` if
// rows were gathered.
Result<TensorView> OpByOpModel::Forward(const ModelInput& input, std::span<const KvLayerView> kv) {
  SLIP_RETURN_IF_ERROR(CheckInput(input, kv));
  SLIP_RETURN_IF_ERROR(CoverPositions(input.batch));
  SLIP_ASSIGN_OR_RETURN(const StepRows rows,
                        backend_.BeginStep({input.token_ids, &input.batch, input.logit_rows}));
  last_hidden_ =
      View(rows.logits == rows.tokens ? normed_ : residual_, rows.logits, config_.hidden_size);
  SLIP_RETURN_IF_ERROR(backend_.IssueStep([&] { IssueOps(input, kv, rows); }));
  return LogitsOf(input, rows);
}

Result<TensorView> OpByOpModel::Logits(int64_t begin, int64_t count) {
  if (begin < 0 || count < 0 || count > max_logit_rows_ || begin + count > last_hidden_.dim(0)) {
    return Internal("logits of rows " + std::to_string(begin) + " to " +
                    std::to_string(begin + count) + " of " + std::to_string(last_hidden_.dim(0)));
  }
  const TensorView out = LogitsView(count);
  IssueLogits(begin, out);
  return out;
}

void OpByOpModel::IssueLogits(int64_t begin, TensorView out) {
  if (out.dim(0) == 0) return;
  TensorView hidden = last_hidden_;
  const size_t offset = BytesOf(hidden.dtype, static_cast<size_t>(begin * config_.hidden_size));
  hidden.data = static_cast<std::byte*>(hidden.data) + offset;
  hidden.shape = {out.dim(0), config_.hidden_size};
  backend_.MatMul(*weights_.lm_head, hidden, out);
  if (config_.final_logit_softcap > 0.0) {
    backend_.SoftCap(out, static_cast<float>(config_.final_logit_softcap));
  }
}

}  // namespace

Result<std::unique_ptr<DecoderModel>> BuildModel(const Checkpoint& checkpoint, Backend& backend) {
  const auto fail = [&](Error error) {
    return tl::unexpected(std::move(error).With(checkpoint.path()));
  };
  const auto spec = FindArch(checkpoint.config().architecture);
  if (!spec) return fail(spec.error());
  auto weights = LoadDecoderWeights(checkpoint, **spec, backend);
  if (!weights) return tl::unexpected(std::move(weights).error());
  auto model =
      std::make_unique<OpByOpModel>(checkpoint.config(), **spec, std::move(*weights), backend);
  if (auto planned = model->Plan(); !planned) return fail(planned.error());
  return model;
}

}  // namespace slipstream
