#include <array>
#include <string>

#include "model/arch_spec.h"

namespace slipstream {
namespace {

constexpr LayerTensorNames kLlamaNames{};

constexpr LayerTensorNames kQwen3Names{.q_norm = "self_attn.q_norm.weight",
                                       .k_norm = "self_attn.k_norm.weight"};

constexpr LayerTensorNames kGemma2Names{.post_attn_norm = "post_attention_layernorm.weight",
                                        .ffn_norm = "pre_feedforward_layernorm.weight",
                                        .post_ffn_norm = "post_feedforward_layernorm.weight"};

constexpr LayerTensorNames kGemma3Names{.post_attn_norm = "post_attention_layernorm.weight",
                                        .ffn_norm = "pre_feedforward_layernorm.weight",
                                        .post_ffn_norm = "post_feedforward_layernorm.weight",
                                        .q_norm = "self_attn.q_norm.weight",
                                        .k_norm = "self_attn.k_norm.weight"};

// A family of known parts is one row here and one fixture in scripts/make_fixtures.py.
constexpr std::array kFamilies = {
    ArchSpec{.name = "llama", .tensors = kLlamaNames},
    ArchSpec{.name = "mistral", .tensors = kLlamaNames},
    ArchSpec{.name = "qwen2", .qkv_bias = true, .tensors = kLlamaNames},
    ArchSpec{.name = "qwen3", .qk_norm = true, .tensors = kQwen3Names},
    ArchSpec{.name = "gemma2",
             .norms = NormPlacement::kSandwich,
             .scale_embedding = true,
             .tensors = kGemma2Names},
    ArchSpec{.name = "gemma3",
             .norms = NormPlacement::kSandwich,
             .qk_norm = true,
             .scale_embedding = true,
             .tensors = kGemma3Names},
};

}  // namespace

Result<const ArchSpec*> FindArch(std::string_view architecture) {
  std::string known;
  for (const ArchSpec& spec : kFamilies) {
    if (spec.name == architecture) return &spec;
    known += known.empty() ? "" : ", ";
    known += spec.name;
  }
  return Fail(ErrorCode::kUnimplemented, "unknown model architecture \"" +
                                             std::string(architecture) + "\"; known are " + known);
}

}  // namespace slipstream
