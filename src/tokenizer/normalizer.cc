#include "tokenizer/normalizer.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "tokenizer/regex.h"

namespace slipstream {
namespace {

// Steps may follow each other, each with a text in place of every character.
Status CheckGrowth(size_t bytes, size_t of_bytes) {
  constexpr size_t kMostTimes = 16, kAlwaysAllowed = size_t{64} << 20;
  if (bytes <= kAlwaysAllowed + kMostTimes * of_bytes) return {};
  return InvalidArgument("the tokenizer's normalizer makes the text too long");
}

class FunctionNormalizer final : public Normalizer {
 public:
  using Function = std::function<Result<std::string>(std::string)>;
  FunctionNormalizer(Function function, size_t max_shrink)
      : function_(std::move(function)), max_shrink_(max_shrink) {}
  Result<std::string> Apply(std::string text) const override { return function_(std::move(text)); }
  size_t max_shrink() const override { return max_shrink_; }

 private:
  Function function_;
  size_t max_shrink_;
};

std::unique_ptr<const Normalizer> Make(size_t max_shrink, FunctionNormalizer::Function function) {
  return std::make_unique<FunctionNormalizer>(std::move(function), max_shrink);
}

class PatternReplace final : public Normalizer {
 public:
  PatternReplace(Regex regex, std::string to) : regex_(std::move(regex)), to_(std::move(to)) {}

  Result<std::string> Apply(std::string text) const override {
    std::string out;
    size_t shown = 0, from = 0;
    while (from <= text.size()) {
      SLIP_ASSIGN_OR_RETURN(const std::optional<Regex::Match> match, regex_.Find(text, from));
      if (!match) break;
      out.append(text, shown, match->begin - shown);
      out += to_;
      SLIP_RETURN_IF_ERROR(CheckGrowth(out.size(), text.size()));
      shown = from = match->end;
      if (match->begin == match->end) {
        if (from >= text.size()) break;
        from += unicode::DecodeAt(text, from).length;
      }
    }
    return out.append(text, shown);
  }
  size_t max_shrink() const override { return 0; }

 private:
  Regex regex_;
  std::string to_;
};

bool Has(uint32_t code_point, uint16_t mask) {
  return (unicode::ClassesOf(code_point) & mask) != 0;
}

std::string Strip(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const unicode::Decoded c = unicode::DecodeAt(text, 0);
    if (!Has(c.code_point, unicode::kSpace)) break;
    text.remove_prefix(c.length);
  }
  while (right && !text.empty()) {
    const unicode::Decoded c = unicode::DecodeBefore(text, text.size());
    if (!Has(c.code_point, unicode::kSpace)) break;
    text.remove_suffix(c.length);
  }
  return std::string(text);
}

std::string RemoveMarks(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const unicode::Decoded c = unicode::DecodeAt(text, pos);
    if (!Has(c.code_point, unicode::kMark)) out += text.substr(pos, c.length);
    pos += c.length;
  }
  return out;
}

Result<std::string> Replace(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  size_t shown = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, shown)) {
    out += text.substr(shown, at - shown);
    out += to;
    SLIP_RETURN_IF_ERROR(CheckGrowth(out.size(), text.size()));
    shown = at + from.size();
  }
  out += text.substr(shown);
  return out;
}

}  // namespace

std::unique_ptr<const Normalizer> MakeUnicodeForm(unicode::Form form) {
  // A character of the result stands for at most four of 4 bytes, and is one byte only if it stands
  // for one: UAX 15 composes what decomposes to four at most, and drops nothing.
  return Make(8, [form](const std::string& text) { return unicode::Normalize(text, form); });
}

std::unique_ptr<const Normalizer> MakeLowercase() {
  return Make(4, [](const std::string& text) { return unicode::Lowercase(text); });
}

std::unique_ptr<const Normalizer> MakeStripAccents() {
  return Make(0, [](const std::string& text) { return RemoveMarks(text); });
}

std::unique_ptr<const Normalizer> MakeStrip(bool left, bool right) {
  return Make(0, [left, right](const std::string& text) { return Strip(text, left, right); });
}

std::unique_ptr<const Normalizer> MakePrepend(std::string prefix) {
  return Make(1, [prefix = std::move(prefix)](std::string text) {
    return text.empty() ? std::move(text) : prefix + text;
  });
}

std::unique_ptr<const Normalizer> MakeLiteralReplace(std::string from, std::string to) {
  const size_t shrink =
      to.empty() ? 0 : std::max<size_t>(1, (from.size() + to.size() - 1) / to.size());
  return Make(
      shrink,
      [from = std::move(from), to = std::move(to)](std::string text) -> Result<std::string> {
        return from.empty() ? std::move(text) : Replace(text, from, to);
      });
}

Result<std::unique_ptr<const Normalizer>> MakePatternReplace(std::string_view pattern,
                                                             std::string to) {
  SLIP_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  return std::make_unique<PatternReplace>(std::move(regex), std::move(to));
}

Result<std::string> ApplyAll(const NormalizerList& steps, std::string_view text) {
  std::string out(text);
  for (const auto& step : steps) {
    SLIP_ASSIGN_OR_RETURN(out, step->Apply(std::move(out)));
    SLIP_RETURN_IF_ERROR(CheckGrowth(out.size(), text.size()));
  }
  return out;
}

}  // namespace slipstream
