// Text to token ids and back. A Tokenizer is built once from a checkpoint's vocabulary, then const
// and shared: any number of threads may call every method at once. Encode fails only on text beyond
// kMaxEncodeBytes; factories fail with one Error naming what is wrong in the file. Ids equal those
// of Hugging Face `tokenizers` (tokenizer.json), `sentencepiece` (.model) and llama.cpp (GGUF).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tokenizer/gguf_vocab.h"
#include "tokenizer/text_bound.h"
#include "tokenizer/token_ids.h"

namespace slipstream {

struct EncodeOptions {
  bool add_special_tokens =
      true;                    // BOS and EOS where the model wants them; false for rendered chats
  bool parse_special = false;  // special tokens written in the text become their ids
  // Once there are more ids than this the rest of the text may be left out.
  size_t max_tokens = std::numeric_limits<size_t>::max();
};

// What a tokenizer knows about its vocabulary apart from how it encodes.
struct TokenTable {
  std::vector<std::string> bytes;  // per id: what the token adds to output text
  std::vector<uint8_t> special;    // per id: 1 if hidden when special tokens are skipped
  TokenIds ids;                    // vocabulary spelling -> id
  std::optional<int32_t> bos_id, eos_id, unk_id;
  std::vector<int32_t> eog_ids;      // every end of generation: EOS, <|im_end|>, <|eot_id|>, ...
  std::string chat_template;         // Jinja source; empty if the checkpoint has none
  bool strip_leading_space = false;  // sentencepiece: one blank at the start of a text is not text
  bool replace_each_bad_byte = false;  // U+FFFD per byte (byte fallback), else per broken sequence
};

class Tokenizer {
 public:
  static constexpr size_t kMaxEncodeBytes = size_t{64} << 20;

  virtual ~Tokenizer() = default;

  // Bytes that are not UTF-8 are read as U+FFFD (as Python's errors="replace").
  virtual Result<std::vector<int32_t>> Encode(std::string_view text,
                                              EncodeOptions options = {}) const = 0;

  // The raw bytes of a token as it contributes to output text; special tokens give their text. Not
  // always valid UTF-8 by itself. Empty for an id out of range. Lives as long as the tokenizer.
  std::string_view TokenBytes(int32_t id) const {
    return InRange(id) ? std::string_view(table_.bytes[id]) : std::string_view();
  }
  bool IsSpecial(int32_t id) const { return InRange(id) && table_.special[id] != 0; }
  int vocab_size() const { return static_cast<int>(table_.bytes.size()); }

  std::optional<int32_t> bos_id() const { return table_.bos_id; }
  std::optional<int32_t> eos_id() const { return table_.eos_id; }
  const std::vector<int32_t>& eog_ids() const { return table_.eog_ids; }
  std::string bos_token() const { return TextOf(table_.bos_id); }
  std::string eos_token() const { return TextOf(table_.eos_id); }
  const std::string& chat_template() const { return table_.chat_template; }
  // The id of a token by its spelling in the vocabulary ("<|im_end|>").
  std::optional<int32_t> FindToken(std::string_view text) const;

  // `text` has this many tokens or more; 0 if only encoding can tell. One look at each byte.
  size_t MinTokens(std::string_view text) const { return bound_.MinTokens(text); }

  bool strip_leading_space() const { return table_.strip_leading_space; }
  bool replace_each_bad_byte() const { return table_.replace_each_bad_byte; }

 protected:
  Tokenizer() = default;
  explicit Tokenizer(TokenTable table) : table_(std::move(table)) {}

  // Const once the constructor of the derived class has returned.
  TokenTable table_;
  TextBound bound_;

 private:
  bool InRange(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < table_.bytes.size();
  }
  std::string TextOf(std::optional<int32_t> id) const {
    return id ? std::string(TokenBytes(*id)) : std::string();
  }
};

// From the vocabulary of a GGUF file (models "gpt2", "llama" and "gemma4").
Result<std::shared_ptr<const Tokenizer>> MakeTokenizerFromGguf(const GgufVocab& vocab);

// From a Hugging Face folder: tokenizer.json, else tokenizer.model; special tokens and the chat
// template from tokenizer_config.json, special_tokens_map.json, generation_config.json and
// chat_template.jinja where they exist.
Result<std::shared_ptr<const Tokenizer>> MakeTokenizerFromHfFolder(const std::string& path);

// From a model as OpenCheckpoint takes it: a .gguf file or a Hugging Face folder.
Result<std::shared_ptr<const Tokenizer>> MakeTokenizer(const std::string& path);

}  // namespace slipstream
