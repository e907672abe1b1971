// What turns a pre-token into ids: byte pair encoding or a unigram model. Const after construction,
// any thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/text_bound.h"
#include "tokenizer/token_ids.h"

namespace slipstream {

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of a pre-token. With `raw_bytes` each byte stands for its byte-level spelling,
  // else the pre-token is REQUIRED to be valid UTF-8. `ids` is the vocabulary of the constructor.
  virtual void Encode(const TokenIds& ids, std::string_view piece, bool raw_bytes,
                      std::vector<int32_t>& out) const = 0;
  // How few ids a pre-token may become. Bytes that no UTF-8 text has do not count.
  virtual TextBound Bound(const TokenIds& ids, bool raw_bytes) const = 0;
};

}  // namespace slipstream
