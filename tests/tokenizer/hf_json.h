// A tokenizer.json made from the vocabulary of a GGUF file and one entry of
// tests/fixtures/tokenizer/pipelines.json, as scripts/make_tokenizer_fixtures.py makes it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tokenizer/gguf_vocab.h"

namespace slipstream {

std::string HfJson(const GgufVocab& vocab, const nlohmann::json& pipeline);

}  // namespace slipstream
