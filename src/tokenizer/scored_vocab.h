// The builder behind MakeTokenizerFromGguf, with what other files than GGUF know besides.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {

struct VocabExtras {
  // User-defined pieces are found after blanks have become U+2581, as in a sentencepiece .model;
  // else in the text as it came, as in llama.cpp.
  bool user_defined_after_normalizer = false;
  std::vector<int32_t> eog_ids;
};

Result<std::shared_ptr<const Tokenizer>> MakeTokenizerFromVocab(const GgufVocab& vocab,
                                                                const VocabExtras& extras);

}  // namespace slipstream
