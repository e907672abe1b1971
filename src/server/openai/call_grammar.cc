#include "server/openai/call_grammar.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "server/parsing/tool_forms.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {
namespace {

constexpr int kMaxBlanks = 40;  // in a row, between two marks of arguments
// Of an answer; else one that is never done would only be calls.
constexpr int kMaxForcedCalls = 32;

using Mode = ToolChoice::Mode;

Json Sequence(Json elements) { return {{"type", "sequence"}, {"elements", std::move(elements)}}; }

Json Text(const std::string& text) { return {{"type", "const_string"}, {"value", text}}; }

// Writes grammars of the calls of one request.
class CallGrammar {
 public:
  CallGrammar(const ChatInput& input, const OutputForms& forms, const Tokenizer& tokenizer)
      : input_(input), form_(forms.tools), text_(TextOfCalls(form_)), tokenizer_(tokenizer) {
    for (const std::string& marker : MarkersOf(forms, true)) {
      if (IsSpecial(marker)) special_.push_back(marker);
    }
  }

  Json Forced() const {
    const ToolChoice& choice = input_.tool_choice;
    const std::string only = choice.only_name();
    Json out = Json::array();
    if (only.empty()) {
      out.push_back(AnyCall());
    } else {
      if (text_.middle.ends_with(' ')) out.push_back(Text(" "));
      out.push_back(Arguments(ToolNamed(only)));
    }
    Append(&out, text_.close);
    if (!choice.single()) {
      Json more = Json::array();
      Append(&more, text_.between + text_.open);
      more.push_back(AnyCall());
      Append(&more, text_.close);
      out.push_back({{"type", "repeat"},
                     {"min", 0},
                     {"max", kMaxForcedCalls - 1},
                     {"content", Sequence(std::move(more))}});
    }
    Append(&out, text_.end);
    return Sequence(std::move(out));
  }

  // Text, and calls that begin with `trigger`.
  Json Triggered(const std::string& trigger) const {
    Json tags = Json::array();
    for (const Json& tool : input_.tools) {
      tags.push_back({{"type", "tag"},
                      {"begin", text_.open + NameOf(tool) + text_.middle},
                      {"content", Arguments(tool)},
                      {"end", text_.close}});
    }
    return {{"type", "triggered_tags"},
            {"triggers", Json::array({trigger})},
            {"tags", std::move(tags)},
            {"stop_after_first", input_.tool_choice.single()}};
  }

  bool IsSpecial(const std::string& marker) const {
    const auto id = tokenizer_.FindToken(marker);
    return id && tokenizer_.IsSpecial(*id);
  }

 private:
  std::string NameOf(const Json& tool) const {
    return NameInCall(text_, tool["function"]["name"].get_ref<const std::string&>());
  }

  const Json& ToolNamed(const std::string& name) const {
    return *std::find_if(input_.tools.begin(), input_.tools.end(),
                         [&](const Json& tool) { return tool["function"]["name"] == name; });
  }

  // From the name of a function up to the end of its arguments.
  Json AnyCall() const {
    Json calls = Json::array();
    for (const Json& tool : input_.tools) {
      Json call = Json::array();
      Append(&call, NameOf(tool) + text_.middle);
      call.push_back(Arguments(tool));
      calls.push_back(Sequence(std::move(call)));
    }
    if (calls.size() == 1) return calls[0];
    return {{"type", "or"}, {"elements", std::move(calls)}};
  }

  Json Arguments(const Json& tool) const {
    const auto given = tool["function"].find("parameters");
    Json schema = {{"type", "object"}, {"properties", Json::object()}};
    if (given != tool["function"].end() && given->is_object()) {
      schema = *given;
      if (!schema.contains("type")) schema["type"] = "object";
      // An object of which nothing is said may be any.
      static constexpr const char* kSaid[] = {
          "properties", "additionalProperties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const",
          "required"};
      if (std::none_of(std::begin(kSaid), std::end(kSaid),
                       [&](const char* word) { return schema.contains(word); })) {
        schema["additionalProperties"] = true;
      }
    }
    return {{"type", "json_schema"},
            {"json_schema", std::move(schema)},
            {"style", form_ == ToolForm::kQwenXml ? "qwen_xml" : "json"},
            {"max_whitespace_cnt", kMaxBlanks}};
  }

  // `text`, whose special tokens no text can stand for.
  void Append(Json* elements, std::string_view text) const {
    while (!text.empty()) {
      size_t at = text.size(), length = 0;
      std::string_view found;
      for (const std::string& marker : special_) {
        const size_t here = text.find(marker);
        if (here < at) at = here, found = marker, length = marker.size();
      }
      if (at > 0) elements->push_back(Text(std::string(text.substr(0, at))));
      if (length > 0) {
        elements->push_back(
            {{"type", "token"}, {"token", *tokenizer_.FindToken(std::string(found))}});
      }
      text.remove_prefix(at + length);
    }
  }

  const ChatInput& input_;
  const ToolForm form_;
  const CallText text_;
  const Tokenizer& tokenizer_;
  std::vector<std::string> special_;  // markers
};

GrammarSource Source(Json format) {
  const Json tag = {{"type", "structural_tag"}, {"format", std::move(format)}};
  return {GrammarKind::kTags, tag.dump(-1, ' ', false, Json::error_handler_t::replace), true,
          "tools"};
}

// What begins a call, and nothing else; empty for forms whose calls begin like text.
std::string TriggerOf(ToolForm form) {
  switch (form) {
    case ToolForm::kHermes:
    case ToolForm::kQwenXml:
      return "<tool_call>";
    case ToolForm::kDeepseek:
    case ToolForm::kDeepseekBare:
      return std::string(deepseek::kCallBegin);
    default:
      return "";
  }
}

}  // namespace

GrammarSource GrammarOfForcedCalls(const ChatInput& input, const OutputForms& forms,
                                   const Tokenizer& tokenizer) {
  return Source(CallGrammar(input, forms, tokenizer).Forced());
}

std::optional<GrammarSource> GrammarOfStrictCalls(const ChatInput& input, const OutputForms& forms,
                                                  const Tokenizer& tokenizer) {
  const std::string trigger = TriggerOf(forms.tools);
  const bool strict = std::any_of(input.tools.begin(), input.tools.end(), [](const Json& tool) {
    const auto value = tool["function"].find("strict");
    return value != tool["function"].end() && *value == true;
  });
  if (trigger.empty() || !strict || input.tool_choice.mode != Mode::kAuto) return std::nullopt;
  const CallGrammar grammar(input, forms, tokenizer);
  const std::vector<std::string> markers = MarkersOf(forms, true);
  if (std::any_of(markers.begin(), markers.end(), [&](const std::string& marker) {
        return marker != forms.think_open && marker != forms.think_close &&
               grammar.IsSpecial(marker);
      })) {
    return std::nullopt;
  }
  return Source(grammar.Triggered(trigger));
}

}  // namespace slipstream
