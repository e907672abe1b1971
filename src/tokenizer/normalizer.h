// Steps that rewrite text before it is cut, each a value of the "normalizer" object of a
// tokenizer.json. Const after construction, any thread. Apply fails if a pattern backtracks without
// end, or if the text grows beyond reason. Source: HF `tokenizers`, normalizers.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/unicode.h"

namespace slipstream {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // REQUIRES and keeps: valid UTF-8.
  virtual Result<std::string> Apply(std::string text) const = 0;
  // The most bytes that may go in for each that comes out; 0: no limit, text may vanish.
  virtual size_t max_shrink() const = 0;
};
using NormalizerList = std::vector<std::unique_ptr<const Normalizer>>;

std::unique_ptr<const Normalizer> MakeUnicodeForm(unicode::Form form);
std::unique_ptr<const Normalizer> MakeLowercase();
std::unique_ptr<const Normalizer> MakeStripAccents();
std::unique_ptr<const Normalizer> MakeStrip(bool left, bool right);
std::unique_ptr<const Normalizer> MakePrepend(std::string prefix);
std::unique_ptr<const Normalizer> MakeLiteralReplace(std::string from, std::string to);
Result<std::unique_ptr<const Normalizer>> MakePatternReplace(std::string_view pattern,
                                                             std::string to);

Result<std::string> ApplyAll(const NormalizerList& steps, std::string_view text);

}  // namespace slipstream
