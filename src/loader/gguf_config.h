// What a GGUF file says about its model: hyperparameters from the metadata, and the Hugging Face
// name of each tensor. Pure functions, any thread; errors name file and key.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "config/model_config.h"
#include "loader/gguf.h"

namespace slipstream {

// REQUIRES nothing of the file; fails for an unsupported architecture, a file without weights, a
// part of a split file, a missing key or a value out of range.
Result<ModelConfig> GgufModelConfig(const GgufFile& file);

// "blk.0.attn_q.weight" -> "model.layers.0.self_attn.q_proj.weight"; names without a counterpart
// come back unchanged. `architecture` decides what ffn_norm is called.
std::string HfTensorName(std::string_view architecture, std::string_view gguf_name);

}  // namespace slipstream
