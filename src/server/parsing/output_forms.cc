#include "server/parsing/output_forms.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <utility>

#include "server/json_text.h"
#include "server/parsing/reasoning_parser.h"
#include "server/parsing/tool_forms.h"

namespace slipstream {
namespace {

template <size_t n>
Status CheckName(const std::string& name, const char* const (&known)[n], const char* option) {
  if (std::find(std::begin(known), std::end(known), name) != std::end(known)) return {};
  std::string list;
  for (const char* k : known) list += (list.empty() ? "" : ", ") + std::string(k);
  return InvalidArgument(fmt::format("{} must be one of {}, not \"{}\"", option, list, name),
                         option);
}

ToolForm ToolFormOf(const std::string& parser, std::string_view source) {
  const auto has = [&](std::string_view text) { return source.find(text) != source.npos; };
  const bool automatic = parser == "auto";
  if (parser == "hermes") return ToolForm::kHermes;
  if (parser == "qwen3_coder") return ToolForm::kQwenXml;
  if (parser == "llama") return ToolForm::kLlama;
  if (parser == "deepseek_v3.1") return ToolForm::kDeepseekBare;
  if (parser == "deepseek" || (automatic && has(deepseek::kCallBegin))) {
    return automatic && !has("```json") ? ToolForm::kDeepseekBare : ToolForm::kDeepseek;
  }
  if (parser == "mistral" || (automatic && has("[TOOL_CALLS]"))) {
    return has("[ARGS]") ? ToolForm::kMistralArgs : ToolForm::kMistral;
  }
  if (!automatic) return ToolForm::kNone;
  if (has("<function=")) return ToolForm::kQwenXml;
  if (has("<tool_call>")) return ToolForm::kHermes;
  if (has("<|python_tag|>") || (has("<|start_header_id|>") && has("\"parameters\""))) {
    return ToolForm::kLlama;
  }
  return ToolForm::kNone;
}

// A token of 62^n, from a generator of the thread.
std::string RandomLetters(int n) {
  thread_local std::mt19937_64 random{(uint64_t{std::random_device{}()} << 32) |
                                      std::random_device{}()};
  constexpr std::string_view kLetters =
      "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  std::uniform_int_distribution<size_t> one(0, kLetters.size() - 1);
  std::string out;
  for (int i = 0; i < n; ++i) out += kLetters[one(random)];
  return out;
}

}  // namespace

std::string_view NameOf(ToolForm form) {
  switch (form) {
    case ToolForm::kHermes:
      return "hermes";
    case ToolForm::kQwenXml:
      return "qwen3_coder";
    case ToolForm::kLlama:
      return "llama";
    case ToolForm::kMistral:
      return "mistral";
    case ToolForm::kMistralArgs:
      return "mistral with [ARGS]";
    case ToolForm::kDeepseek:
      return "deepseek";
    case ToolForm::kDeepseekBare:
      return "deepseek_v3.1";
    default:
      return "none";
  }
}

Result<OutputForms> ChooseOutputForms(const std::string& tool_parser,
                                      const std::string& reasoning_parser,
                                      std::string_view chat_template) {
  SLIP_RETURN_IF_ERROR(CheckName(tool_parser, kToolParsers, "tool_parser"));
  SLIP_RETURN_IF_ERROR(CheckName(reasoning_parser, kReasoningParsers, "reasoning_parser"));
  const auto has = [&](std::string_view text) {
    return chat_template.find(text) != chat_template.npos;
  };
  OutputForms forms;
  forms.tools = ToolFormOf(tool_parser, chat_template);
  const bool automatic = reasoning_parser == "auto";
  if (reasoning_parser == "think" || (automatic && has("</think>"))) {
    forms.think_open = "<think>";
    forms.think_close = "</think>";
  } else if (reasoning_parser == "mistral" || (automatic && has("[/THINK]"))) {
    forms.think_open = "[THINK]";
    forms.think_close = "[/THINK]";
  }
  return forms;
}

std::unique_ptr<OutputParser> MakeOutputParser(const OutputForms& forms, OutputOptions options) {
  ToolParserOptions tool_options{std::move(options.names), options.known_names_only,
                                 options.parallel, std::move(options.is_text)};
  std::unique_ptr<OutputParser> parser;
  switch (options.tools ? forms.tools : ToolForm::kNone) {
    case ToolForm::kNone:
      parser = std::make_unique<PlainParser>();
      break;
    case ToolForm::kHermes:
      parser = MakeHermesParser(std::move(tool_options));
      break;
    case ToolForm::kQwenXml:
      parser = MakeQwenXmlParser(std::move(tool_options));
      break;
    case ToolForm::kLlama:
      parser = MakeLlamaParser(std::move(tool_options));
      break;
    case ToolForm::kMistral:
    case ToolForm::kMistralArgs:
      parser = MakeMistralParser(std::move(tool_options));
      break;
    case ToolForm::kDeepseek:
    case ToolForm::kDeepseekBare:
      parser = MakeDeepseekParser(std::move(tool_options));
      break;
  }
  if (!forms.reasons()) return parser;
  return std::make_unique<ReasoningParser>(forms.think_open, forms.think_close,
                                           options.starts_in_reasoning, std::move(parser));
}

CallText TextOfCalls(ToolForm form) {
  const std::string calls_begin(deepseek::kCallsBegin), calls_end(deepseek::kCallsEnd);
  const std::string call_begin(deepseek::kCallBegin), call_end(deepseek::kCallEnd);
  const std::string separator(deepseek::kSeparator);
  switch (form) {
    case ToolForm::kNone:
      break;
    case ToolForm::kHermes:
      return {"", "<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>", "\n", ""};
    case ToolForm::kQwenXml:
      return {"", "<tool_call>\n<function=", ">\n", "\n</function>\n</tool_call>", "\n", "", false};
    case ToolForm::kLlama:
      return {"", "{\"name\": \"", "\", \"parameters\": ", "}", "; ", ""};
    case ToolForm::kMistral:
      return {"[TOOL_CALLS] [", "{\"name\": \"", "\", \"arguments\": ", "}", ", ", "]"};
    case ToolForm::kMistralArgs:
      return {"", "[TOOL_CALLS]", "[ARGS]", "", "", "", false};
    case ToolForm::kDeepseek:
      return {calls_begin,   call_begin + "function" + separator,
              "\n```json\n", "\n```" + call_end,
              "\n",          calls_end,
              false};
    case ToolForm::kDeepseekBare:
      return {calls_begin, call_begin, separator, call_end, "", calls_end, false};
  }
  return {};
}

std::string NameInCall(const CallText& text, const std::string& name) {
  if (!text.is_json) return name;
  std::string out;
  AppendJsonEscaped(&out, name);
  return out;
}

std::string OpeningOfCall(ToolForm form, const std::string& name) {
  const CallText text = TextOfCalls(form);
  std::string out = text.begin + text.open;
  if (name.empty()) return out;
  out += NameInCall(text, name) + text.middle;
  if (out.ends_with(' ')) out.pop_back();
  return out;
}

std::string_view EndOfCall(ToolForm form) {
  switch (form) {
    case ToolForm::kHermes:
    case ToolForm::kQwenXml:
      return "</tool_call>";
    case ToolForm::kDeepseek:
    case ToolForm::kDeepseekBare:
      return deepseek::kCallEnd;
    default:
      return "";
  }
}

bool EndsInReasoning(const OutputForms& forms, std::string_view prompt) {
  if (!forms.reasons()) return false;
  const size_t last = prompt.find_last_not_of(" \n\r\t");
  return last != prompt.npos && prompt.substr(0, last + 1).ends_with(forms.think_open);
}

std::vector<std::string> MarkersOf(const OutputForms& forms, bool tools) {
  std::vector<std::string> markers;
  if (forms.reasons()) markers = {forms.think_open, forms.think_close};
  const auto add = [&](std::initializer_list<std::string_view> list) {
    markers.insert(markers.end(), list.begin(), list.end());
  };
  switch (tools ? forms.tools : ToolForm::kNone) {
    case ToolForm::kNone:
      break;
    case ToolForm::kHermes:
    case ToolForm::kQwenXml:
      add({"<tool_call>", "</tool_call>"});
      break;
    case ToolForm::kLlama:
      add({"<|python_tag|>"});
      break;
    case ToolForm::kMistral:
    case ToolForm::kMistralArgs:
      add({"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"});
      break;
    case ToolForm::kDeepseek:
    case ToolForm::kDeepseekBare:
      add({deepseek::kCallsBegin, deepseek::kCallsEnd, deepseek::kCallBegin, deepseek::kCallEnd,
           deepseek::kSeparator});
      break;
  }
  return markers;
}

std::string NewCallId(ToolForm form) {
  constexpr int kMistralLetters = 9;  // its templates refuse ids of any other length
  const bool is_mistral = form == ToolForm::kMistral || form == ToolForm::kMistralArgs;
  return is_mistral ? RandomLetters(kMistralLetters) : "call_" + RandomLetters(24);
}

}  // namespace slipstream
