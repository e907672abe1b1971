#include "tokenizer/tokenizer.h"

namespace slipstream {

std::optional<int32_t> Tokenizer::FindToken(std::string_view text) const {
  const auto it = table_.ids.find(text);
  return it == table_.ids.end() ? std::nullopt : std::optional<int32_t>(it->second);
}

}  // namespace slipstream
