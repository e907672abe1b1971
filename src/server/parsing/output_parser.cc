#include "server/parsing/output_parser.h"

#include <algorithm>

namespace slipstream {

size_t PartialMarkerAtEnd(std::string_view text, std::string_view marker) {
  for (size_t n = std::min(text.size(), marker.size() - 1); n > 0; --n) {
    if (text.ends_with(marker.substr(0, n))) return n;
  }
  return 0;
}

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

size_t SpaceAtEnd(std::string_view text) {
  size_t n = 0;
  while (n < text.size() && n < kMaxHeldSpace && IsSpace(text[text.size() - 1 - n])) ++n;
  return n;
}

}  // namespace slipstream
