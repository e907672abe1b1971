// ModelConfig from a Hugging Face config.json (transformers 4 and 5 spellings) and, beside it,
// generation_config.json. Pure apart from reading the files; any thread. Errors name file and key;
// an unknown architecture lists the supported ones.
#pragma once

#include <string>

#include "base/result.h"
#include "config/model_config.h"

namespace slipstream {

// `path`: config.json itself.
Result<ModelConfig> ReadHfConfig(const std::string& path);

}  // namespace slipstream
