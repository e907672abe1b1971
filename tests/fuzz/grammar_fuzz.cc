// A grammar of a request: the first line of the input is its kind, the rest the source. It compiles
// or is an error, and what compiled leads through masks to a text of allowed tokens.
#include <array>

#include "grammar/grammar_compiler.h"
#include "grammar/xgrammar_engine.h"
#include "tests/fuzz/fuzz.h"
#include "tests/grammar/byte_tokenizer.h"

namespace slipstream::fuzz {
namespace {

constexpr size_t kMaxSource = 4096;
constexpr int kMaxTokens = 48;

const XGrammarEngine& Engine(const Tokenizer& tokenizer) {
  static const auto engine = MakeXGrammarEngine(tokenizer, tokenizer.vocab_size());
  Require(engine.has_value(), "the vocabulary is taken");
  return **engine;
}

GrammarSource Source(std::string_view input) {
  static constexpr std::array kKinds = {
      std::pair{"schema", GrammarKind::kJsonSchema}, std::pair{"regex", GrammarKind::kRegex},
      std::pair{"choice", GrammarKind::kChoice}, std::pair{"ebnf", GrammarKind::kEbnf},
      std::pair{"object", GrammarKind::kJsonObject}};
  GrammarSource source{.kind = GrammarKind::kJsonSchema, .field = "response_format"};
  const std::string_view kind = TakeLine(&input);
  for (const auto& [name, value] : kKinds) {
    if (kind.starts_with(name)) source.kind = value;
  }
  source.strict = !kind.ends_with("loose");
  source.text = std::string(input);
  return source;
}

void Walk(const testing::ByteTokenizer& tokenizer, const TokenConstraint& constraint) {
  auto state = constraint.Start(tokenizer.eog_ids());
  if (!state) return RequireReadable(state.error());
  std::vector<uint32_t> mask(TokenMaskWords(tokenizer.vocab_size()));
  for (int step = 0; step < kMaxTokens; ++step) {
    if (!(*state)->FillMask(mask)) return;
    int32_t next = -1;
    for (int32_t i = 0; i < tokenizer.vocab_size() && next < 0; ++i) {
      const int32_t token = (i + step * 37) % tokenizer.vocab_size();
      if (TokenAllowed(mask, token)) next = token;
    }
    if (next < 0) return;
    Require((*state)->Advance(next).has_value(), "an allowed token may come next");
    if (next == tokenizer.end()) return;
  }
}

}  // namespace
}  // namespace slipstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipstream;  // NOLINT(google-build-using-namespace)
  static const testing::ByteTokenizer tokenizer;
  const GrammarSource source = fuzz::Source(fuzz::Text(data, size));
  if (const Status sane = CheckGrammarSource(source, fuzz::kMaxSource); !sane) {
    fuzz::RequireReadable(sane.error());
    return 0;
  }
  const auto compiled = fuzz::Engine(tokenizer).Compile(source, kNeverStop);
  if (!compiled) {
    fuzz::RequireReadable(compiled.error());
    return 0;
  }
  fuzz::Walk(tokenizer, *compiled->constraint);
  return 0;
}
