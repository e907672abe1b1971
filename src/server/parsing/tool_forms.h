// The parsers of the tool call forms. See output_parser.h for what they promise.
#pragma once

#include <memory>

#include "server/parsing/tool_parser.h"

namespace slipstream {

// <tool_call>{"name": "f", "arguments": {...}}</tool_call>: Hermes, Qwen 2.5 and 3 and others.
std::unique_ptr<OutputParser> MakeHermesParser(ToolParserOptions options);

// <tool_call><function=f><parameter=a>text</parameter></function></tool_call>: Qwen3-Coder and
// others. Values become JSON strings where the parameter takes text or the value is no JSON, else
// they are taken as JSON.
std::unique_ptr<OutputParser> MakeQwenXmlParser(ToolParserOptions options);

// An answer that is {"name": "f", "parameters": {...}} with the name of a known function, more
// calls after ";"; or any such object after <|python_tag|>: Llama 3.1 to 3.3.
std::unique_ptr<OutputParser> MakeLlamaParser(ToolParserOptions options);

// [TOOL_CALLS] and either [{"name": "f", "arguments": {...}}, ...] or f[ARGS]{...}, the latter also
// with [CALL_ID] before [ARGS] or with neither: Mistral.
std::unique_ptr<OutputParser> MakeMistralParser(ToolParserOptions options);

// Calls between <｜tool▁call▁begin｜> and <｜tool▁call▁end｜>, of the form function<｜tool▁sep｜>f
// and a fenced block of JSON (V3, R1) or f<｜tool▁sep｜>{...} (V3.1): DeepSeek.
std::unique_ptr<OutputParser> MakeDeepseekParser(ToolParserOptions options);

namespace deepseek {
inline constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
inline constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
inline constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
inline constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
inline constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
}  // namespace deepseek

}  // namespace slipstream
