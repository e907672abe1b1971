#include "grammar/xgrammar_engine.h"

#include <fmt/core.h>
#include <xgrammar/xgrammar.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/schema_check.h"
#include "grammar/xgrammar_gate.h"
#include "grammar/xgrammar_log.h"

namespace slipstream {
namespace {

constexpr size_t kMaxReasonBytes = 300;
// Blanks in a row that JSON may have between two marks: room for deep indentation, an end for
// models that would print them for ever.
constexpr int kMaxBlanks = 40;
// For json_object: OpenAI's is an object, not any value.
constexpr const char* kAnyObject = R"({"type":"object"})";

// "[10:00:00] /path/file.cc:12: reason\n" -> "reason", on one line and not too long.
std::string ReasonOf(std::string_view what) {
  if (what.starts_with('[')) {
    const size_t file = what.find("] ");
    const size_t begin = file == std::string_view::npos ? file : what.find(": ", file);
    if (begin != std::string_view::npos) what.remove_prefix(begin + 2);
  }
  std::string out(what.substr(0, kMaxReasonBytes));
  if (what.size() > kMaxReasonBytes) {
    // Not in the middle of a character.
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80) out.pop_back();
    if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0) out.pop_back();
    out += "...";
  }
  std::replace(out.begin(), out.end(), '\n', ' ');
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

// What all constraints of a vocabulary share.
struct Vocabulary {
  std::vector<bool> textless;  // per id of the model
  std::vector<int> stop_ids;   // that the library was told of; not empty
};

class State final : public TokenConstraintState {
 public:
  // `hidden`: ids that the library takes for allowed, and this sequence does not.
  State(const xgrammar::CompiledGrammar& grammar, std::optional<std::vector<int>> stop_ids,
        std::vector<int> hidden, int64_t vocab_size)
      : matcher_(grammar, std::move(stop_ids)),
        hidden_(std::move(hidden)),
        vocab_size_(vocab_size) {}

  Status Advance(int32_t token) override {
    try {
      if (matcher_.AcceptToken(token)) return {};
      return Internal(fmt::format("the grammar does not allow token {} here", token));
    } catch (const std::exception& e) {
      return Internal("the grammar failed: " + ReasonOf(e.what()));
    }
  }

  Status FillMask(std::span<uint32_t> mask) override {
    if (static_cast<int64_t>(mask.size()) != TokenMaskWords(vocab_size_)) {
      return Internal("a token mask of the wrong size");
    }
    int64_t shape = static_cast<int64_t>(mask.size());
    DLTensor tensor{};
    tensor.data = mask.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = 1;
    tensor.dtype = {kDLInt, 32, 1};
    tensor.shape = &shape;
    try {
      matcher_.FillNextTokenBitmask(&tensor);
    } catch (const std::exception& e) {
      return Internal("the grammar failed: " + ReasonOf(e.what()));
    }
    if (const int64_t used = vocab_size_ % 32; used != 0) {
      mask.back() &= (uint32_t{1} << used) - 1;
    }
    for (const int id : hidden_) mask[id / 32] &= ~(uint32_t{1} << id % 32);
    return {};
  }

 private:
  xgrammar::GrammarMatcher matcher_;
  const std::vector<int> hidden_;
  const int64_t vocab_size_;
};

class Constraint final : public TokenConstraint {
 public:
  Constraint(xgrammar::CompiledGrammar grammar, std::shared_ptr<const Vocabulary> vocabulary)
      : grammar_(std::move(grammar)), vocabulary_(std::move(vocabulary)) {}

  Result<std::unique_ptr<TokenConstraintState>> Start(
      std::span<const int32_t> stop_ids) const override {
    // A stop token with text may also be a part of the answer: the grammar decides over it.
    const std::vector<bool>& textless = vocabulary_->textless;
    std::vector<int> stops;
    for (const int32_t id : stop_ids) {
      if (id >= 0 && static_cast<size_t>(id) < textless.size() && textless[id]) {
        stops.push_back(id);
      }
    }
    std::vector<int> hidden;
    for (const int id : vocabulary_->stop_ids) {
      if (std::find(stops.begin(), stops.end(), id) == stops.end()) hidden.push_back(id);
    }
    std::optional<std::vector<int>> overridden;
    if (!stops.empty()) overridden = std::move(stops);
    try {
      return std::make_unique<State>(grammar_, std::move(overridden), std::move(hidden),
                                     static_cast<int64_t>(textless.size()));
    } catch (const std::exception& e) {
      return Internal("the grammar failed: " + ReasonOf(e.what()));
    }
  }

 private:
  const xgrammar::CompiledGrammar grammar_;
  const std::shared_ptr<const Vocabulary> vocabulary_;
};

// A text in quotes, as the library's grammars have it.
std::string Literal(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

Result<std::string> GrammarOfChoices(const std::string& list) {
  const auto choices = nlohmann::json::parse(list, nullptr, false);
  if (!choices.is_array() || choices.empty()) return InvalidArgument("there is no choice");
  std::string out = "root ::= ";
  for (size_t i = 0; i < choices.size(); ++i) {
    if (!choices[i].is_string() || choices[i].get_ref<const std::string&>().empty()) {
      return InvalidArgument("each choice must be a string, and not empty");
    }
    if (i > 0) out += " | ";
    out += Literal(choices[i].get_ref<const std::string&>());
  }
  return out + "\n";
}

class Engine final : public XGrammarEngine {
 public:
  Engine(const xgrammar::TokenizerInfo& info, std::shared_ptr<const Vocabulary> vocabulary)
      : compiler_(info, /*max_threads=*/1, /*cache_enabled=*/false),
        vocabulary_(std::move(vocabulary)) {}

  Result<CompiledConstraint> Compile(const GrammarSource& source,
                                     const std::atomic<bool>& stop) const override {
    try {
      const GrammarGate gate(&stop);
      TakeXGrammarWarning();
      SLIP_ASSIGN_OR_RETURN(xgrammar::CompiledGrammar grammar, CompileText(source));
      if (source.kind == GrammarKind::kJsonSchema) SLIP_RETURN_IF_ERROR(CheckEnforced(source));
      CompiledConstraint out;
      out.bytes = grammar.MemorySizeBytes();
      out.constraint = std::make_shared<Constraint>(std::move(grammar), vocabulary_);
      return out;
    } catch (const std::bad_alloc&) {
      return Fail(ErrorCode::kResourceExhausted, source.field + " needs too much memory",
                  source.field);
    } catch (const std::exception& e) {
      return InvalidArgument(source.field + " is not usable: " + ReasonOf(e.what()), source.field);
    }
  }

 private:
  Result<xgrammar::CompiledGrammar> CompileText(const GrammarSource& source) const {
    const auto schema = [&](const std::string& text, bool strict) {
      return compiler_.CompileJSONSchema(text, /*any_whitespace=*/true, std::nullopt, std::nullopt,
                                         strict, kMaxBlanks);
    };
    switch (source.kind) {
      case GrammarKind::kJsonObject:
        return schema(kAnyObject, false);
      case GrammarKind::kJsonSchema:
        return schema(source.text, source.strict);
      case GrammarKind::kRegex:
        return compiler_.CompileRegex(source.text);
      case GrammarKind::kEbnf:
        return compiler_.CompileGrammar(source.text);
      case GrammarKind::kTags:
        return compiler_.CompileStructuralTag(source.text);
      case GrammarKind::kChoice:
        break;
    }
    auto grammar = GrammarOfChoices(source.text);
    if (!grammar) {
      return InvalidArgument(source.field + ": " + grammar.error().message, source.field);
    }
    return compiler_.CompileGrammar(*grammar);
  }

  // An answer that does not fit is worse than none: the client believes that it does.
  static Status CheckEnforced(const GrammarSource& source) {
    std::string why = ReasonOf(TakeXGrammarWarning());
    if (why.empty()) why = NotEnforced(nlohmann::json::parse(source.text, nullptr, false));
    if (why.empty()) return {};
    return InvalidArgument(
        fmt::format("{} asks for what answers cannot be held to: {}", source.field, why),
        source.field);
  }

  mutable xgrammar::GrammarCompiler compiler_;  // holds no state of its own without its cache
  const std::shared_ptr<const Vocabulary> vocabulary_;
};

}  // namespace

Result<std::shared_ptr<const XGrammarEngine>> MakeXGrammarEngine(const Tokenizer& tokenizer,
                                                                 int64_t vocab_size) {
  const int64_t num_known = std::min<int64_t>(tokenizer.vocab_size(), vocab_size);
  if (num_known < 1) return InvalidArgument("a model without tokens has no grammars");
  std::vector<std::string> texts(static_cast<size_t>(num_known));
  auto vocabulary = std::make_shared<Vocabulary>();
  vocabulary->textless.assign(static_cast<size_t>(vocab_size), true);
  for (const int32_t id : tokenizer.eog_ids()) {
    if (id >= 0 && id < num_known) vocabulary->stop_ids.push_back(id);
  }
  // The library wants one. Hidden from every mask, it costs a vocabulary without ends a token.
  if (vocabulary->stop_ids.empty()) vocabulary->stop_ids.push_back(0);
  const std::vector<int>& stops = vocabulary->stop_ids;
  for (int32_t id = 0; id < num_known; ++id) {
    // The library takes tokens without text for special ones, which no grammar allows.
    const bool special = tokenizer.IsSpecial(id) || tokenizer.TokenBytes(id).empty() ||
                         std::find(stops.begin(), stops.end(), id) != stops.end();
    if (special) continue;
    texts[id] = tokenizer.TokenBytes(id);
    vocabulary->textless[id] = false;
  }
  try {
    const xgrammar::TokenizerInfo info(texts, xgrammar::VocabType::RAW,
                                       static_cast<int>(vocab_size),
                                       std::vector<int32_t>(stops.begin(), stops.end()));
    return std::make_shared<Engine>(info, std::move(vocabulary));
  } catch (const std::exception& e) {
    return Internal("grammars cannot be used with this vocabulary: " + ReasonOf(e.what()));
  }
}

}  // namespace slipstream
