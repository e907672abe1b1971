#include "tokenizer/detokenizer.h"

#include <algorithm>
#include <utility>

#include "tokenizer/unicode.h"

namespace slipstream {

Detokenizer::Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, DetokenizeOptions options)
    : tokenizer_(std::move(tokenizer)),
      options_(std::move(options)),
      at_start_(options_.at_text_start) {}

std::string Detokenizer::Push(int32_t token) {
  if (options_.skip_special_tokens && tokenizer_->IsSpecial(token) &&
      std::find(options_.shown_special.begin(), options_.shown_special.end(), token) ==
          options_.shown_special.end()) {
    return {};
  }
  std::string_view bytes = tokenizer_->TokenBytes(token);
  if (bytes.empty()) return {};
  if (at_start_) {
    at_start_ = false;
    if (tokenizer_->strip_leading_space() && bytes.front() == ' ') bytes.remove_prefix(1);
  }
  pending_ += bytes;
  std::string text;
  size_t pos = 0;
  while (pos < pending_.size()) {
    const unicode::Scanned scanned = unicode::ScanAt(pending_, pos);
    if (scanned.unit == unicode::Unit::kUnfinished) break;
    if (scanned.unit == unicode::Unit::kCharacter) {
      text.append(pending_, pos, scanned.length);
    } else {
      const int marks = tokenizer_->replace_each_bad_byte() ? scanned.length : 1;
      for (int i = 0; i < marks; ++i) text += unicode::kReplacement;
    }
    pos += scanned.length;
  }
  pending_.erase(0, pos);
  return text;
}

std::string Detokenizer::Flush() {
  std::string text;
  if (!pending_.empty()) {
    const size_t marks = tokenizer_->replace_each_bad_byte() ? pending_.size() : 1;
    for (size_t i = 0; i < marks; ++i) text += unicode::kReplacement;
  }
  pending_.clear();
  at_start_ = options_.at_text_start;
  return text;
}

std::string Decode(const std::shared_ptr<const Tokenizer>& tokenizer, std::span<const int32_t> ids,
                   DetokenizeOptions options) {
  Detokenizer detokenizer(tokenizer, std::move(options));
  std::string text;
  for (const int32_t id : ids) text += detokenizer.Push(id);
  return text + detokenizer.Flush();
}

}  // namespace slipstream
