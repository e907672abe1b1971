#include "loader/expected_tensors.h"

#include <fmt/core.h>

#include <string>
#include <utility>

namespace slipstream {
namespace {

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
    AddLinear(p + "mlp.gate_proj", inner, hidden, c_.mlp_bias);
    AddLinear(p + "mlp.up_proj", inner, hidden, c_.mlp_bias);
    AddLinear(p + "mlp.down_proj", hidden, inner, c_.mlp_bias);
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

}  // namespace

std::vector<CheckpointTensor> ExpectedTensors(const ModelConfig& config) {
  return TensorList(config).Build();
}

}  // namespace slipstream
