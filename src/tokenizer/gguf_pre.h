// How the byte-level vocabularies of GGUF files cut text, by the name in tokenizer.ggml.pre. Built
// per tokenizer; fails on a name that is not in the table. Patterns: the tokenizer.json of the
// model that each name stands for.
#pragma once

#include <string_view>

#include "base/result.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pretokenizer.h"

namespace slipstream {

struct GgufPre {
  NormalizerList normalizers;
  PreTokenizerList pre_tokenizers;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

Result<GgufPre> MakeGgufPre(std::string_view name);

}  // namespace slipstream
