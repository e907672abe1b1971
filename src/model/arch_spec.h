// A model family as data: which parts its decoder layer is made of and what its tensors are called.
// What is a number (sizes, caps, windows, frequencies) comes from ModelConfig instead. Constant
// values in one table (arch_registry.cc); any thread. FindArch fails for an unknown family.
#pragma once

#include <string_view>

#include "base/result.h"

namespace slipstream {

enum class NormPlacement : uint8_t {
  kPre,       // before attention and before the MLP
  kSandwich,  // and after each of them, before the residual sum (Gemma 2 and 3)
};

// Names of a layer's tensors after "model.layers.N."; an empty name: the family has none.
struct LayerTensorNames {
  std::string_view attn_norm = "input_layernorm.weight";
  std::string_view post_attn_norm;
  std::string_view ffn_norm = "post_attention_layernorm.weight";
  std::string_view post_ffn_norm;
  std::string_view q_norm;
  std::string_view k_norm;
};

struct ArchSpec {
  std::string_view name;
  NormPlacement norms = NormPlacement::kPre;
  bool qk_norm = false;          // RMS norm of each q and k head before rotation
  bool qkv_bias = false;         // always there; elsewhere ModelConfig::attention_bias decides
  bool scale_embedding = false;  // embeddings times sqrt(hidden_size)
  LayerTensorNames tensors;
};

// The row of `architecture`, or an error that lists the families there are.
Result<const ArchSpec*> FindArch(std::string_view architecture);

}  // namespace slipstream
