// The vocabulary of a GGUF file as plain data: the tokenizer.* keys of its metadata, unchecked. Any
// thread; ReadGgufVocab fails on keys of the wrong type, MakeTokenizerFromGguf checks the rest.
// Source: the GGUF specification (ggml/docs/gguf.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace slipstream {

class GgufFile;

// Values of tokenizer.ggml.token_type.
enum class GgufTokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct GgufVocab {
  std::string model;                 // tokenizer.ggml.model: "gpt2", "llama", ...
  std::string pre;                   // tokenizer.ggml.pre: "smollm", "llama-bpe", ...; may be empty
  std::vector<std::string> tokens;   // tokenizer.ggml.tokens
  std::vector<float> scores;         // tokenizer.ggml.scores; may be empty
  std::vector<int32_t> token_types;  // tokenizer.ggml.token_type; may be empty
  std::vector<std::string> merges;   // tokenizer.ggml.merges; may be empty
  std::optional<int32_t> bos_id, eos_id, eot_id, eom_id, unk_id,
      pad_id;                                              // tokenizer.ggml.*_token_id
  std::optional<bool> add_bos, add_eos, add_space_prefix;  // tokenizer.ggml.add_*
  std::string chat_template;                               // tokenizer.chat_template
  std::string model_name;                                  // general.name
};

Result<GgufVocab> ReadGgufVocab(const GgufFile& file);

}  // namespace slipstream
