#include "tokenizer/json_steps.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "tokenizer/byte_level.h"

namespace slipstream {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 8;  // sequences within sequences
constexpr size_t kMaxSteps = 64;

// Flattens {"type": "Sequence", <list>: [...]} into its steps.
Status Flatten(const json& object, const char* list, int depth, std::vector<const json*>& steps) {
  if (object.is_null()) return {};
  const std::string type = object.at("type").get<std::string>();
  if (type != "Sequence") {
    if (steps.size() >= kMaxSteps) return InvalidArgument("too many steps");
    steps.push_back(&object);
    return {};
  }
  if (depth >= kMaxDepth) return InvalidArgument("sequences are nested too deeply");
  for (const json& step : object.at(list)) {
    SLIP_RETURN_IF_ERROR(Flatten(step, list, depth + 1, steps));
  }
  return {};
}

tl::unexpected<Error> NotSupported(const std::string& type) {
  return Fail(ErrorCode::kUnimplemented, "the step \"" + type + "\" is not supported");
}

// {"String": "..."} or {"Regex": "..."}.
struct Pattern {
  std::string text;
  bool regex = false;
};
Result<Pattern> ParsePattern(const json& object) {
  if (object.is_string()) return Pattern{object.get<std::string>(), false};
  for (const char* kind : {"Regex", "String"}) {
    const auto it = object.find(kind);
    if (it != object.end()) return Pattern{it->get<std::string>(), kind[0] == 'R'};
  }
  return InvalidArgument("a pattern is neither \"String\" nor \"Regex\"");
}

Result<SplitBehavior> ParseBehavior(const std::string& name) {
  constexpr std::array<std::pair<const char*, SplitBehavior>, 5> kNames = {{
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  }};
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  return InvalidArgument("the split behavior \"" + name + "\" is not known");
}

class ByteLevelNormalizer final : public Normalizer {
 public:
  Result<std::string> Apply(std::string text) const override { return byte_level::Encode(text); }
  size_t max_shrink() const override { return 1; }
};

Result<std::unique_ptr<const Normalizer>> ParseNormalizer(const json& step) {
  const std::string type = step.at("type").get<std::string>();
  if (type == "NFC") return MakeUnicodeForm(unicode::Form::kNfc);
  if (type == "NFD") return MakeUnicodeForm(unicode::Form::kNfd);
  if (type == "NFKC") return MakeUnicodeForm(unicode::Form::kNfkc);
  if (type == "NFKD") return MakeUnicodeForm(unicode::Form::kNfkd);
  if (type == "Lowercase") return MakeLowercase();
  if (type == "StripAccents") return MakeStripAccents();
  if (type == "ByteLevel") return std::make_unique<ByteLevelNormalizer>();
  if (type == "Strip") {
    return MakeStrip(step.at("strip_left").get<bool>(), step.at("strip_right").get<bool>());
  }
  if (type == "Prepend") return MakePrepend(step.at("prepend").get<std::string>());
  if (type == "Replace") {
    SLIP_ASSIGN_OR_RETURN(const Pattern pattern, ParsePattern(step.at("pattern")));
    std::string content = step.at("content").get<std::string>();
    if (pattern.regex) return MakePatternReplace(pattern.text, std::move(content));
    return MakeLiteralReplace(pattern.text, std::move(content));
  }
  return NotSupported(type);
}

Result<std::unique_ptr<const PreTokenizer>> ParseSplit(const json& step) {
  SLIP_ASSIGN_OR_RETURN(const Pattern pattern, ParsePattern(step.at("pattern")));
  SLIP_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                        ParseBehavior(step.at("behavior").get<std::string>()));
  const bool invert = step.value("invert", false);
  if (pattern.regex) return MakePatternSplit(pattern.text, behavior, invert);
  return MakeLiteralSplit(pattern.text, behavior, invert);
}

Result<std::unique_ptr<const PreTokenizer>> ParseMetaspace(const json& step) {
  const std::string replacement = step.value("replacement", std::string("\xE2\x96\x81"));
  if (replacement.empty() || unicode::DecodeAt(replacement, 0).length != replacement.size()) {
    return InvalidArgument("the replacement of Metaspace is not one character");
  }
  // Files of before 2024 have add_prefix_space where newer ones have prepend_scheme.
  std::string scheme = step.value("add_prefix_space", true) ? "always" : "never";
  scheme = step.value("prepend_scheme", scheme);
  PrependScheme parsed = PrependScheme::kAlways;
  if (scheme == "first") {
    parsed = PrependScheme::kFirst;
  } else if (scheme == "never") {
    parsed = PrependScheme::kNever;
  } else if (scheme != "always") {
    return InvalidArgument("the prepend_scheme \"" + scheme + "\" is not known");
  }
  return MakeMetaspace(replacement, parsed, step.value("split", true));
}

Status ParsePreTokenizer(const json& step, bool last, PreTokenizerList& out) {
  const std::string type = step.at("type").get<std::string>();
  if (type == "ByteLevel") {
    out.push_back(
        MakeByteLevel(step.value("add_prefix_space", true), step.value("use_regex", true), last));
  } else if (type == "Split") {
    SLIP_ASSIGN_OR_RETURN(auto split, ParseSplit(step));
    out.push_back(std::move(split));
  } else if (type == "Digits") {
    out.push_back(MakeCharacterSplit(CharacterKind::kDigit, step.value("individual_digits", false)
                                                                ? SplitBehavior::kIsolated
                                                                : SplitBehavior::kContiguous));
  } else if (type == "Punctuation") {
    SLIP_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                          ParseBehavior(step.value("behavior", std::string("Isolated"))));
    out.push_back(MakeCharacterSplit(CharacterKind::kPunctuation, behavior));
  } else if (type == "Whitespace") {
    out.push_back(MakeWordSplit());
  } else if (type == "WhitespaceSplit") {
    out.push_back(MakeCharacterSplit(CharacterKind::kWhitespace, SplitBehavior::kRemoved));
  } else if (type == "BertPreTokenizer") {
    out.push_back(MakeCharacterSplit(CharacterKind::kWhitespace, SplitBehavior::kRemoved));
    out.push_back(MakeCharacterSplit(CharacterKind::kPunctuation, SplitBehavior::kIsolated));
  } else if (type == "CharDelimiterSplit") {
    out.push_back(
        MakeLiteralSplit(step.at("delimiter").get<std::string>(), SplitBehavior::kRemoved, false));
  } else if (type == "Metaspace") {
    SLIP_ASSIGN_OR_RETURN(auto metaspace, ParseMetaspace(step));
    out.push_back(std::move(metaspace));
  } else {
    return NotSupported(type);
  }
  return {};
}

}  // namespace

Result<NormalizerList> ParseNormalizers(const json& object) {
  try {
    std::vector<const json*> steps;
    SLIP_RETURN_IF_ERROR(Flatten(object, "normalizers", 0, steps));
    NormalizerList list;
    for (const json* step : steps) {
      SLIP_ASSIGN_OR_RETURN(auto normalizer, ParseNormalizer(*step));
      list.push_back(std::move(normalizer));
    }
    return list;
  } catch (const json::exception& e) {
    return InvalidArgument(e.what());
  }
}

Result<PreTokenizerList> ParsePreTokenizers(const json& object) {
  try {
    std::vector<const json*> steps;
    SLIP_RETURN_IF_ERROR(Flatten(object, "pretokenizers", 0, steps));
    PreTokenizerList list;
    for (size_t i = 0; i < steps.size(); ++i) {
      SLIP_RETURN_IF_ERROR(ParsePreTokenizer(*steps[i], i + 1 == steps.size(), list));
    }
    return list;
  } catch (const json::exception& e) {
    return InvalidArgument(e.what());
  }
}

}  // namespace slipstream
