// A sentencepiece .model run by the sentencepiece library. Const after construction, any thread.
// Fails on files that the library refuses. Source: github.com/google/sentencepiece.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "tokenizer/hf_settings.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {

// `proto` is the content of the file.
Result<std::shared_ptr<const Tokenizer>> MakeSentencePieceTokenizer(const std::string& proto,
                                                                    const HfSettings& settings);

}  // namespace slipstream
