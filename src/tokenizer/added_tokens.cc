#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

bool IsWord(uint32_t code_point) {
  return (unicode::ClassesOf(code_point) &
          (unicode::kLetter | unicode::kMark | unicode::kDecimal | unicode::kConnector)) != 0;
}

bool IsSpace(uint32_t code_point) {
  return (unicode::ClassesOf(code_point) & unicode::kSpace) != 0;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), nodes_(1) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& text = tokens_[i].text;
    if (text.empty()) continue;
    starts_[static_cast<uint8_t>(text[0])] = true;
    int32_t node = 0;
    for (const char c : text) {
      const uint8_t byte = static_cast<uint8_t>(c);
      auto& next = nodes_[node].next;
      auto it = std::lower_bound(next.begin(), next.end(), std::pair<uint8_t, int32_t>(byte, -1));
      if (it == next.end() || it->first != byte) {
        const int32_t child = static_cast<int32_t>(nodes_.size());
        next.insert(it, {byte, child});
        nodes_.emplace_back();
        node = child;
      } else {
        node = it->second;
      }
    }
    if (nodes_[node].token < 0) nodes_[node].token = static_cast<int32_t>(i);
  }
}

int32_t AddedTokens::LongestAt(std::string_view text, size_t pos) const {
  int32_t node = 0, found = -1;
  for (; pos < text.size(); ++pos) {
    const uint8_t byte = static_cast<uint8_t>(text[pos]);
    const auto& next = nodes_[node].next;
    const auto it =
        std::lower_bound(next.begin(), next.end(), std::pair<uint8_t, int32_t>(byte, -1));
    if (it == next.end() || it->first != byte) break;
    node = it->second;
    if (nodes_[node].token >= 0) found = nodes_[node].token;
  }
  return found;
}

size_t AddedTokens::max_bytes() const {
  size_t most = 1;
  for (const AddedToken& token : tokens_) {
    if (token.lstrip || token.rstrip) return 0;
    most = std::max(most, token.text.size());
  }
  return most;
}

void AddedTokens::Split(std::string_view text, bool parse_special, std::vector<Part>& parts) const {
  size_t shown = 0;
  for (size_t pos = 0; !tokens_.empty() && pos < text.size();) {
    if (!starts_[static_cast<uint8_t>(text[pos])]) {
      ++pos;
      continue;
    }
    const int32_t index = LongestAt(text, pos);
    if (index < 0) {
      ++pos;
      continue;
    }
    const AddedToken& token = tokens_[index];
    size_t begin = pos, end = pos + token.text.size();
    pos = end;
    if (token.special && !parse_special) continue;
    if (token.single_word &&
        ((begin > 0 && IsWord(unicode::DecodeBefore(text, begin).code_point)) ||
         (end < text.size() && IsWord(unicode::DecodeAt(text, end).code_point)))) {
      continue;
    }
    if (begin < shown) begin = shown;
    while (token.lstrip && begin > shown) {
      const unicode::Decoded before = unicode::DecodeBefore(text, begin);
      if (!IsSpace(before.code_point)) break;
      begin -= before.length;
    }
    while (token.rstrip && end < text.size()) {
      const unicode::Decoded after = unicode::DecodeAt(text, end);
      if (!IsSpace(after.code_point)) break;
      end += after.length;
    }
    if (begin > shown) parts.push_back({text.substr(shown, begin - shown), -1});
    parts.push_back({text.substr(begin, end - begin), token.id});
    shown = std::max(shown, end);
    pos = std::max(pos, shown);
  }
  if (shown < text.size()) parts.push_back({text.substr(shown), -1});
}

}  // namespace slipstream
