// What: cuts a template into text, tags and the tokens inside tags, with Jinja2's rules for blanks
//   (trim_blocks and lstrip_blocks on, as Hugging Face sets them).
// Owner: pure function. Thread: any. Fails: throws jinja::Error naming the line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace slipstream::jinja {

enum class TokenKind : uint8_t {
  kText,
  kOutputBegin,  // {{
  kOutputEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;  // of strings: unescaped
  int line = 1;
};

std::vector<Token> Tokenize(std::string_view source);

}  // namespace slipstream::jinja
