// Token ids to printable text, one token at a time. One Detokenizer per generated choice, owned by
// the server's stream, used by one thread at a time. Cannot fail: ids out of range give no text.
// What Push and Flush return, joined, is the text of all tokens decoded at once; every piece is
// valid UTF-8 and no piece splits a character.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace slipstream {

struct DetokenizeOptions {
  bool skip_special_tokens = true;
  // Shown all the same: marks that a parser of the text looks for.
  std::vector<int32_t> shown_special = {};
  // The first token starts a text: sentencepiece vocabularies drop one blank there. False when the
  // tokens continue a prompt whose text is shown elsewhere.
  bool at_text_start = true;
};

class Detokenizer {
 public:
  explicit Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, DetokenizeOptions options = {});

  // The text that is certain now. Bytes of an unfinished character stay back; bytes that can no
  // longer become one turn into U+FFFD.
  std::string Push(int32_t token);
  // What was held back, as U+FFFD. The detokenizer then stands as after construction.
  std::string Flush();
  bool holds_bytes() const { return !pending_.empty(); }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  DetokenizeOptions options_;
  bool at_start_;
  std::string pending_;  // an unfinished UTF-8 sequence, at most 3 bytes
};

// All tokens at once.
std::string Decode(const std::shared_ptr<const Tokenizer>& tokenizer, std::span<const int32_t> ids,
                   DetokenizeOptions options = {});

}  // namespace slipstream
