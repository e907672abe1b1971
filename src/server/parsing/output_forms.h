// Which forms of tool calls and reasoning a model writes, and what follows from that: the parser,
// the text that opens a call, the tokens that must not be hidden. Plain values, any thread.
//
// "auto" reads the model's chat template, since it is there that calls and reasoning of earlier
// turns are written in the form the model was trained on:
//   <｜tool▁call▁begin｜> deepseek, [TOOL_CALLS] mistral, <function= qwen3_coder, <tool_call>
//   hermes,
//   <|python_tag|> or <|start_header_id|> together with "parameters" llama; </think> think,
//   [/THINK] mistral.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/parsing/output_parser.h"

namespace slipstream {

enum class ToolForm {
  kNone,
  kHermes,
  kQwenXml,
  kLlama,
  kMistral,
  kMistralArgs,
  kDeepseek,
  kDeepseekBare
};

struct OutputForms {
  ToolForm tools = ToolForm::kNone;
  std::string think_open, think_close;  // empty: no reasoning

  bool reasons() const { return !think_close.empty(); }
};

// As a log shows it.
std::string_view NameOf(ToolForm form);

// Names of settings, for help texts and errors.
inline constexpr const char* kToolParsers[] = {"auto",  "none",    "hermes",   "qwen3_coder",
                                               "llama", "mistral", "deepseek", "deepseek_v3.1"};
inline constexpr const char* kReasoningParsers[] = {"auto", "none", "think", "mistral"};

// kInvalidArgument for names that are not among the above.
Result<OutputForms> ChooseOutputForms(const std::string& tool_parser,
                                      const std::string& reasoning_parser,
                                      std::string_view chat_template);

struct OutputOptions {
  bool tools = false;                   // look for calls
  std::vector<std::string> names = {};  // of the request's functions
  bool known_names_only = false;        // what calls another function is content
  bool parallel = true;                 // false: calls after the first are dropped
  // Whether a function's parameter takes text; null: unknown.
  std::function<bool(const std::string& function, const std::string& parameter)> is_text = nullptr;
  bool starts_in_reasoning = false;
};
std::unique_ptr<OutputParser> MakeOutputParser(const OutputForms& forms, OutputOptions options);

// The pieces of one or more calls: begin + call + between + call + end, where a call is
// open + name + middle + arguments + close.
struct CallText {
  std::string begin, open, middle, close, between, end;
  bool is_json = true;  // names are escaped, arguments are JSON
};
CallText TextOfCalls(ToolForm form);

// `name` as it stands in a call.
std::string NameInCall(const CallText& text, const std::string& name);

// The beginning of a call of `name` up to its arguments and the blank before them, or of any
// function up to its name if `name` is empty, as a prompt's last text: what follows is left to the
// model, since a token may begin with that blank. REQUIRES: form is not kNone
std::string OpeningOfCall(ToolForm form, const std::string& name);

// What ends a call, for generations of a single one; empty if the form has no such text.
std::string_view EndOfCall(ToolForm form);

// Whether the prompt ends after an opening of reasoning that was not closed.
bool EndsInReasoning(const OutputForms& forms, std::string_view prompt);

// The markers of the forms; those that are special tokens must be decoded as text.
std::vector<std::string> MarkersOf(const OutputForms& forms, bool tools);

// An id no other call has, in the style the form's chat template asks for.
std::string NewCallId(ToolForm form);

}  // namespace slipstream
