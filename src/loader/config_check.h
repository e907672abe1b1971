// Range checks of a ModelConfig, whatever file it came from. `file` is named in messages. Const
// input, any thread; fails with the name of the hyperparameter that is out of range.
#pragma once

#include <string>

#include "base/result.h"
#include "config/model_config.h"

namespace slipstream {

inline constexpr const char* kSupportedArchitectures =
    "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Gemma2ForCausalLM, "
    "Gemma3ForCausalLM, Gemma3ForConditionalGeneration";
inline constexpr const char* kSupportedGgufArchitectures = "llama, qwen2, qwen3, gemma2, gemma3";

Status CheckModelConfig(const ModelConfig& config, const std::string& file);

}  // namespace slipstream
