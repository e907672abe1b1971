// tools, tool_choice and parallel_tool_calls of a chat request. Pure functions over a reader.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "server/openai/field_reader.h"

namespace slipstream {

struct ChatInput;

struct ToolChoice {
  enum class Mode { kNone, kAuto, kRequired, kNamed };
  Mode mode = Mode::kNone;
  std::string name;                // of kNamed
  std::vector<std::string> names;  // of the functions that may be called
  bool parallel = true;

  // Whether an answer without a call would be wrong.
  bool forced() const { return mode == Mode::kRequired || mode == Mode::kNamed; }
  // Whether an answer has one call at most.
  bool single() const { return mode == Mode::kNamed || !parallel; }
  // Of the only function a forced call can be of; empty if there are several.
  std::string only_name() const {
    return mode == Mode::kNamed ? name : names.size() == 1 ? names[0] : "";
  }
};

// Fills `tools` and `tool_choice`; the template sees the tools that may be called.
Status ReadTools(FieldReader& reader, ChatInput* input);

// Whether the schema of `function` says that `parameter` is a string.
bool TakesText(const Json& tools, const std::string& function, const std::string& parameter);

}  // namespace slipstream
