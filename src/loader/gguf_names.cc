#include <fmt/core.h>

#include "loader/gguf_config.h"

namespace slipstream {
namespace {

struct NamePair {
  std::string_view gguf, hf;
};
constexpr NamePair kModelNames[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};
constexpr NamePair kLayerNames[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},           {"ffn_down", "mlp.down_proj"},
};
// Gemma norms both sides of attention and MLP; elsewhere ffn_norm is the one after attention.
constexpr NamePair kGemmaNorms[] = {
    {"ffn_norm", "pre_feedforward_layernorm"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
};
constexpr NamePair kPlainNorms[] = {{"ffn_norm", "post_attention_layernorm"}};

template <size_t N>
std::string_view Lookup(const NamePair (&table)[N], std::string_view gguf) {
  for (const NamePair& p : table) {
    if (p.gguf == gguf) return p.hf;
  }
  return {};
}

}  // namespace

std::string HfTensorName(std::string_view architecture, std::string_view name) {
  const size_t dot = name.rfind('.');  // before "weight" or "bias"
  if (dot == std::string_view::npos) return std::string(name);
  const std::string_view stem = name.substr(0, dot), suffix = name.substr(dot);
  if (!stem.starts_with("blk.")) {
    const std::string_view hf = Lookup(kModelNames, stem);
    return hf.empty() ? std::string(name) : fmt::format("{}{}", hf, suffix);
  }
  const size_t layer_end = stem.find('.', 4);
  if (layer_end == std::string_view::npos) return std::string(name);
  const std::string_view layer = stem.substr(4, layer_end - 4), part = stem.substr(layer_end + 1);
  std::string_view hf = Lookup(kLayerNames, part);
  if (hf.empty()) {
    hf = architecture.starts_with("gemma") ? Lookup(kGemmaNorms, part) : Lookup(kPlainNorms, part);
  }
  return hf.empty() ? std::string(name) : fmt::format("model.layers.{}.{}{}", layer, hf, suffix);
}

}  // namespace slipstream
