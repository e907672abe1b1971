// The 256 bytes, pieces of JSON and of words as a real vocabulary has them, and special tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace slipstream::testing {

class ByteTokenizer final : public Tokenizer {
 public:
  explicit ByteTokenizer(bool with_end = true) {
    for (int b = 0; b < 256; ++b) Add(std::string(1, static_cast<char>(b)), false);
    for (const char* piece :
         {"{\"",  "\":", "\",",    "\"}",      "}}",       "[]",   "{}",    "true",   "false",
          "null", ", ",  "\": \"", "  ",       "\n",       "name", "Hello", " world", "12",
          "007",  "e+",  "\\u",    "\xC3\xA9", "\xE2\x82", "yes",  "no",    "red"}) {
      Add(piece, false);
    }
    Add("", false);
    if (!with_end) return;
    for (const char* special : {"</s>", "<|im_end|>", "<think>", "</think>"}) Add(special, true);
    table_.eos_id = FindToken("</s>");
    table_.eog_ids = {*FindToken("</s>"), *FindToken("<|im_end|>")};
  }

  Result<std::vector<int32_t>> Encode(std::string_view text, EncodeOptions) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  int32_t end() const { return *table_.eos_id; }

 private:
  void Add(std::string text, bool special) {
    table_.ids.emplace(text, static_cast<int32_t>(table_.bytes.size()));
    table_.bytes.push_back(std::move(text));
    table_.special.push_back(special ? 1 : 0);
  }
};

}  // namespace slipstream::testing
