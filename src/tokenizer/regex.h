// A compiled Perl-style pattern over UTF-8, as tokenizer files write them (Oniguruma's Ruby syntax,
// of which PCRE2 understands all that is in use). Const after Compile, any thread may search.
// Compile fails on patterns that PCRE2 does not know; Find fails on patterns that backtrack without
// end.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipstream {

class Regex {
 public:
  struct Match {
    size_t begin, end;
  };

  static Result<Regex> Compile(std::string_view pattern);

  // First match that starts at or after `from`. REQUIRES: text is valid UTF-8, from at a border.
  Result<std::optional<Match>> Find(std::string_view text, size_t from) const;

 private:
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace slipstream
