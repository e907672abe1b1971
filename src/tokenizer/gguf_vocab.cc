#include "tokenizer/gguf_vocab.h"

#include <limits>

#include "loader/gguf.h"

namespace slipstream {
namespace {

Status ReadId(const GgufFile& file, const char* key, std::optional<int32_t>& id) {
  if (!file.Has(key)) return {};
  SLIP_ASSIGN_OR_RETURN(const int64_t value, file.Int(key));
  // An id that no vocabulary can have says "none", as -1 and 2^32 - 1 do in real files.
  if (value >= 0 && value <= std::numeric_limits<int32_t>::max()) id = static_cast<int32_t>(value);
  return {};
}

Status ReadFlag(const GgufFile& file, const char* key, std::optional<bool>& flag) {
  if (!file.Has(key)) return {};
  SLIP_ASSIGN_OR_RETURN(flag, file.BoolOr(key, false));
  return {};
}

}  // namespace

Result<GgufVocab> ReadGgufVocab(const GgufFile& file) {
  GgufVocab vocab;
  SLIP_ASSIGN_OR_RETURN(vocab.model, file.String("tokenizer.ggml.model"));
  SLIP_ASSIGN_OR_RETURN(vocab.pre, file.StringOr("tokenizer.ggml.pre", ""));
  SLIP_ASSIGN_OR_RETURN(vocab.chat_template, file.StringOr("tokenizer.chat_template", ""));
  SLIP_ASSIGN_OR_RETURN(vocab.model_name, file.StringOr("general.name", ""));
  SLIP_ASSIGN_OR_RETURN(const auto tokens, file.Strings("tokenizer.ggml.tokens"));
  vocab.tokens.assign(tokens.begin(), tokens.end());
  if (file.Has("tokenizer.ggml.merges")) {
    SLIP_ASSIGN_OR_RETURN(const auto merges, file.Strings("tokenizer.ggml.merges"));
    vocab.merges.assign(merges.begin(), merges.end());
  }
  if (file.Has("tokenizer.ggml.scores")) {
    SLIP_ASSIGN_OR_RETURN(vocab.scores, file.Floats("tokenizer.ggml.scores"));
  }
  if (file.Has("tokenizer.ggml.token_type")) {
    SLIP_ASSIGN_OR_RETURN(const auto types, file.Ints("tokenizer.ggml.token_type"));
    vocab.token_types.assign(types.begin(), types.end());
  }
  SLIP_RETURN_IF_ERROR(ReadId(file, "tokenizer.ggml.bos_token_id", vocab.bos_id));
  SLIP_RETURN_IF_ERROR(ReadId(file, "tokenizer.ggml.eos_token_id", vocab.eos_id));
  SLIP_RETURN_IF_ERROR(ReadId(file, "tokenizer.ggml.eot_token_id", vocab.eot_id));
  SLIP_RETURN_IF_ERROR(ReadId(file, "tokenizer.ggml.eom_token_id", vocab.eom_id));
  SLIP_RETURN_IF_ERROR(ReadId(file, "tokenizer.ggml.unknown_token_id", vocab.unk_id));
  SLIP_RETURN_IF_ERROR(ReadId(file, "tokenizer.ggml.padding_token_id", vocab.pad_id));
  SLIP_RETURN_IF_ERROR(ReadFlag(file, "tokenizer.ggml.add_bos_token", vocab.add_bos));
  SLIP_RETURN_IF_ERROR(ReadFlag(file, "tokenizer.ggml.add_eos_token", vocab.add_eos));
  SLIP_RETURN_IF_ERROR(ReadFlag(file, "tokenizer.ggml.add_space_prefix", vocab.add_space_prefix));
  return vocab;
}

}  // namespace slipstream
