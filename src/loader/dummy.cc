#include "loader/dummy.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "loader/hf_config.h"

namespace slipstream {
namespace {

// The tensors of a checkpoint of `c`, without data. Norms are the vectors called "...norm.weight".
class TensorList {
 public:
  explicit TensorList(const ModelConfig& c) : c_(c) {}

  std::vector<CheckpointTensor> Build() {
    Add("model.embed_tokens.weight", {c_.vocab_size, c_.hidden_size});
    for (int64_t i = 0; i < c_.num_layers; ++i) AddLayer(fmt::format("model.layers.{}.", i));
    Add("model.norm.weight", {c_.hidden_size});
    if (!c_.tie_word_embeddings) Add("lm_head.weight", {c_.vocab_size, c_.hidden_size});
    return std::move(out_);
  }

 private:
  void AddLayer(const std::string& p) {
    const int64_t hidden = c_.hidden_size, inner = c_.intermediate_size;
    const int64_t q = c_.num_heads * c_.head_dim, kv = c_.num_kv_heads * c_.head_dim;
    const bool gemma = c_.architecture.starts_with("gemma");
    const bool qk_norm = c_.architecture == "qwen3" || c_.architecture == "gemma3";
    const bool o_bias = c_.attention_bias && c_.architecture != "qwen2";
    AddLinear(p + "self_attn.q_proj", q, hidden, c_.attention_bias);
    AddLinear(p + "self_attn.k_proj", kv, hidden, c_.attention_bias);
    AddLinear(p + "self_attn.v_proj", kv, hidden, c_.attention_bias);
    AddLinear(p + "self_attn.o_proj", hidden, q, o_bias);
    AddLinear(p + "mlp.gate_proj", inner, hidden, false);
    AddLinear(p + "mlp.up_proj", inner, hidden, false);
    AddLinear(p + "mlp.down_proj", hidden, inner, false);
    Add(p + "input_layernorm.weight", {hidden});
    Add(p + "post_attention_layernorm.weight", {hidden});
    if (gemma) {
      Add(p + "pre_feedforward_layernorm.weight", {hidden});
      Add(p + "post_feedforward_layernorm.weight", {hidden});
    }
    if (qk_norm) {
      Add(p + "self_attn.q_norm.weight", {c_.head_dim});
      Add(p + "self_attn.k_norm.weight", {c_.head_dim});
    }
  }

  void AddLinear(const std::string& name, int64_t rows, int64_t cols, bool bias) {
    Add(name + ".weight", {rows, cols});
    if (bias) Add(name + ".bias", {rows});
  }

  void Add(const std::string& name, std::vector<int64_t> shape) {
    out_.push_back({.name = name, .file_name = name, .shape = std::move(shape)});
  }

  const ModelConfig& c_;
  std::vector<CheckpointTensor> out_;
};

bool IsNorm(const CheckpointTensor& t) { return t.name.ends_with("norm.weight"); }

}  // namespace

Result<std::unique_ptr<DummyCheckpoint>> DummyCheckpoint::Open(const std::string& path,
                                                               const LoadOptions& options) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  const std::string file = folder ? (std::filesystem::path(path) / "config.json").string() : path;
  if (options.dummy_dtype != DType::kF32 && options.dummy_dtype != DType::kF16 &&
      options.dummy_dtype != DType::kBF16) {
    return InvalidArgument(
        fmt::format("dummy weights are F32, F16 or BF16, not {}", NameOf(options.dummy_dtype)));
  }
  SLIP_ASSIGN_OR_RETURN(ModelConfig config, ReadHfConfig(file));
  auto out = std::make_unique<DummyCheckpoint>();
  std::vector<CheckpointTensor> tensors = TensorList(config).Build();
  for (CheckpointTensor& t : tensors) t.file = file;
  out->set(path, std::move(config));
  SLIP_RETURN_IF_ERROR(out->Fill(tensors, options));
  return out;
}

Status DummyCheckpoint::Fill(const std::vector<CheckpointTensor>& wanted,
                             const LoadOptions& options) {
  RandomBlock::Spec matrix{.dtype = options.dummy_dtype, .seed = options.seed};
  RandomBlock::Spec norm{.dtype = options.dummy_dtype,
                         .mean = config().norm_weight_plus_one ? 0.0f : 1.0f,
                         .seed = ~options.seed};
  const auto bytes_of = [&](const CheckpointTensor& t) {
    size_t elems = 1;
    for (const int64_t d : t.shape) elems *= static_cast<size_t>(d);
    return BytesOf(options.dummy_dtype, elems);
  };
  for (const CheckpointTensor& t : wanted) {
    RandomBlock::Spec& spec = IsNorm(t) ? norm : matrix;
    spec.total_bytes += bytes_of(t);
    spec.largest_bytes = std::max(spec.largest_bytes, bytes_of(t));
  }
  SLIP_ASSIGN_OR_RETURN(matrices_, RandomBlock::Make(matrix));
  SLIP_ASSIGN_OR_RETURN(norms_, RandomBlock::Make(norm));
  for (CheckpointTensor t : wanted) {
    t.dtype = options.dummy_dtype;
    t.bytes = bytes_of(t);
    t.data = (IsNorm(t) ? norms_ : matrices_).Next(t.bytes);
    SLIP_RETURN_IF_ERROR(Add(std::move(t)));
  }
  return {};
}

}  // namespace slipstream
