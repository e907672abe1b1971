// The pre-token patterns of GPT-2 and of the cl100k family (Llama 3, Qwen) as hand-written
// scanners: the same cuts as the regular expressions, without a regular expression engine. Pure,
// any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace slipstream {

struct Scanner {
  enum class Kind { kGpt2, kCl100k };
  Kind kind;
  int max_digits = 0;           // kCl100k: \p{N}{1,max_digits}; 0 is \p{N}+
  bool marks_in_words = false;  // kCl100k: [\p{L}\p{M}]+ where the family has \p{L}+

  // End of the pre-token that starts at `pos`; every character belongs to one. REQUIRES: valid
  // UTF-8.
  size_t Next(std::string_view text, size_t pos) const;
};

extern const std::string_view kGpt2Pattern;

// The scanner that cuts as `pattern` does, if there is one.
std::optional<Scanner> ScannerFor(std::string_view pattern);

}  // namespace slipstream
