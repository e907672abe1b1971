// A vocabulary of the 256 bytes and a few words and special tokens; text is encoded byte by byte.
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace slipstream::testing {

class TinyTokenizer final : public Tokenizer {
 public:
  // With more special tokens, if a test wants them.
  explicit TinyTokenizer(const std::vector<std::string>& more = {}) {
    for (int b = 0; b < 256; ++b) Add(std::string(1, static_cast<char>(b)), false);
    for (const char* word : {"Hello", " world", "STO", "P here", "</", "stop>", " and on"}) {
      Add(word, false);
    }
    for (const char* word :
         {"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "[TOOL_CALLS]"})
      Add(word, true);
    for (const std::string& word : more) Add(word, true);
    table_.bos_id = *FindToken("<s>");
    table_.eos_id = *FindToken("</s>");
    table_.eog_ids = {*FindToken("</s>"), *FindToken("<|im_end|>")};
    for (const std::string& bytes : table_.bytes) {
      bound_.max_bytes = std::max(bound_.max_bytes, bytes.size());
    }
  }

  Result<std::vector<int32_t>> Encode(std::string_view text, EncodeOptions options) const override {
    bytes_seen += static_cast<int64_t>(text.size());
    std::vector<int32_t> ids;
    if (options.add_special_tokens) ids.push_back(*table_.bos_id);
    while (!text.empty() && ids.size() <= options.max_tokens) {
      int32_t id = static_cast<unsigned char>(text[0]);
      if (options.parse_special) {
        for (int32_t special = 0; special < vocab_size(); ++special) {
          if (IsSpecial(special) && text.starts_with(TokenBytes(special))) id = special;
        }
      }
      text.remove_prefix(TokenBytes(id).size());
      ids.push_back(id);
    }
    return ids;
  }

  mutable std::atomic<int64_t> bytes_seen{0};  // by Encode

  // The ids of bytes and words, to write scripts with: longest word first.
  std::vector<int32_t> Script(std::string_view text) const {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      int32_t best = static_cast<unsigned char>(text[0]);
      for (int32_t id = 256; id < vocab_size(); ++id) {
        if (text.starts_with(TokenBytes(id)) && TokenBytes(id).size() > TokenBytes(best).size()) {
          best = id;
        }
      }
      text.remove_prefix(TokenBytes(best).size());
      ids.push_back(best);
    }
    return ids;
  }

 private:
  void Add(std::string text, bool special) {
    table_.ids.emplace(text, static_cast<int32_t>(table_.bytes.size()));
    table_.bytes.push_back(std::move(text));
    table_.special.push_back(special ? 1 : 0);
  }
};

}  // namespace slipstream::testing
