// The tokenizer every format becomes: added tokens, normalizers, pre-tokenizers and a model in a
// row, as HF `tokenizers` has it. Const after construction, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/token_model.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {

struct Pipeline {
  AddedTokens raw_added;         // found in the text as it came
  AddedTokens normalized_added;  // found after the normalizers
  NormalizerList normalizers;
  PreTokenizerList pre_tokenizers;
  std::unique_ptr<const TokenModel> model;
  std::vector<int32_t> prefix, suffix;  // special tokens around every text
};

class PipelineTokenizer final : public Tokenizer {
 public:
  PipelineTokenizer(TokenTable table, Pipeline pipeline);

  Result<std::vector<int32_t>> Encode(std::string_view text, EncodeOptions options) const override;

 private:
  Status EncodeFragment(std::string_view text, bool at_start, const EncodeOptions& options,
                        std::vector<int32_t>& out) const;
  TextBound Bound() const;

  Pipeline pipeline_;
};

}  // namespace slipstream
