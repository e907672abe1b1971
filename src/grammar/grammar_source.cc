#include <fmt/core.h>

#include <algorithm>

#include "grammar/grammar_compiler.h"

namespace slipstream {
namespace {

// Parsers of grammars recurse: this many levels fit into the stack of a thread many times over.
constexpr int kMaxNesting = 128;

// Brackets that are open at once, outside of JSON strings for schemas.
int NestingOf(const GrammarSource& source) {
  const bool json = source.kind == GrammarKind::kJsonSchema ||
                    source.kind == GrammarKind::kChoice || source.kind == GrammarKind::kTags;
  int depth = 0, most = 0;
  bool in_string = false;
  for (size_t i = 0; i < source.text.size(); ++i) {
    const char c = source.text[i];
    if (c == '\\') {
      ++i;
    } else if (json && c == '"') {
      in_string = !in_string;
    } else if (in_string) {
      continue;
    } else if (c == '(' || c == '[' || c == '{') {
      most = std::max(most, ++depth);
    } else if (c == ')' || c == ']' || c == '}') {
      depth = std::max(0, depth - 1);
    }
  }
  return most;
}

}  // namespace

Status CheckGrammarSource(const GrammarSource& source, size_t max_bytes) {
  if (source.text.empty() && source.kind != GrammarKind::kJsonObject) {
    return InvalidArgument(source.field + " is empty", source.field);
  }
  if (source.text.size() > max_bytes) {
    return InvalidArgument(
        fmt::format("{} has {} bytes, the most is {}", source.field, source.text.size(), max_bytes),
        source.field);
  }
  if (const int nesting = NestingOf(source); nesting > kMaxNesting) {
    return InvalidArgument(
        fmt::format("{} nests {} levels deep, the most is {}", source.field, nesting, kMaxNesting),
        source.field);
  }
  return {};
}

}  // namespace slipstream
