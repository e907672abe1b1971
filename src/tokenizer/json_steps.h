// Reads the "normalizer" and "pre_tokenizer" objects of a tokenizer.json. Any thread. Fails with
// the name of the step that is malformed or not supported.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pretokenizer.h"

namespace slipstream {

// `object` may be null: no steps.
Result<NormalizerList> ParseNormalizers(const nlohmann::json& object);
Result<PreTokenizerList> ParsePreTokenizers(const nlohmann::json& object);

}  // namespace slipstream
