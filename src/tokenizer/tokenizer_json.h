// Reads a tokenizer.json of HF `tokenizers`: models BPE and Unigram. Any thread. Fails with the
// part of the file that is malformed or not supported; no text crashes it.
#pragma once

#include <string_view>

#include "base/result.h"
#include "tokenizer/pipeline_tokenizer.h"

namespace slipstream {

struct ParsedTokenizer {
  TokenTable table;  // without bos, eos, eog and chat template: other files name them
  Pipeline pipeline;
};

Result<ParsedTokenizer> ParseTokenizerJson(std::string_view text);

}  // namespace slipstream
