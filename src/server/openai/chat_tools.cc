#include "server/openai/chat_tools.h"

#include <fmt/core.h>

#include <algorithm>

#include "server/openai/chat_render.h"

namespace slipstream {
namespace {

constexpr size_t kMaxNameBytes = 256;

using Mode = ToolChoice::Mode;

Result<std::string> NameOfFunction(const Json& tool, const std::string& at) {
  const auto function = tool.is_object() ? tool.find("function") : tool.end();
  if (!tool.is_object() || function == tool.end() || !function->is_object()) {
    return InvalidArgument(at + " must be {\"type\":\"function\",\"function\":{...}}", at);
  }
  const auto name = function->find("name");
  if (name == function->end() || !name->is_string()) {
    return InvalidArgument(at + ".function.name must be a string", at + ".function.name");
  }
  const std::string& text = name->get_ref<const std::string&>();
  if (text.empty() || text.size() > kMaxNameBytes) {
    return InvalidArgument(
        fmt::format("{}.function.name must have 1 to {} bytes", at, kMaxNameBytes),
        at + ".function.name");
  }
  return text;
}

// The member `name` of an object; null for anything else.
const Json* Member(const Json* object, const std::string& name) {
  if (object == nullptr || !object->is_object()) return nullptr;
  const auto found = object->find(name);
  return found != object->end() ? &*found : nullptr;
}

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Result<std::string> NameOfOffered(const Json& choice, const std::string& at,
                                  const ToolChoice& offered) {
  SLIP_ASSIGN_OR_RETURN(std::string name, NameOfFunction(choice, at));
  if (Contains(offered.names, name)) return name;
  return InvalidArgument(at + " names a function that is not among the tools: " + Shown(Json(name)),
                         "tool_choice");
}

// Some of the tools, to be called by choice or by force.
Status ReadAllowed(const Json* allowed, ToolChoice* out) {
  const std::string at = "tool_choice.allowed_tools";
  const Json* mode = Member(allowed, "mode");
  const Json* tools = Member(allowed, "tools");
  if (mode == nullptr || (*mode != "auto" && *mode != "required")) {
    return InvalidArgument(at + ".mode must be \"auto\" or \"required\"", "tool_choice");
  }
  if (tools == nullptr || !tools->is_array() || tools->empty()) {
    return InvalidArgument(at + ".tools must be an array of functions", "tool_choice");
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < tools->size(); ++i) {
    SLIP_ASSIGN_OR_RETURN(std::string name,
                          NameOfOffered((*tools)[i], fmt::format("{}.tools[{}]", at, i), *out));
    if (!Contains(names, name)) names.push_back(std::move(name));
  }
  out->names = std::move(names);
  out->mode = *mode == "auto" ? Mode::kAuto : Mode::kRequired;
  return {};
}

Status ReadChoice(const Json& choice, ToolChoice* out) {
  if (choice == "none" || choice == "auto" || choice == "required") {
    out->mode = choice == "none" ? Mode::kNone : choice == "auto" ? Mode::kAuto : Mode::kRequired;
    return {};
  }
  const auto type = choice.is_object() ? choice.find("type") : choice.end();
  if (choice.is_object() && type != choice.end() && *type == "allowed_tools") {
    return ReadAllowed(Member(&choice, "allowed_tools"), out);
  }
  if (!choice.is_object() || (type != choice.end() && *type != "function")) {
    return InvalidArgument(
        "tool_choice must be \"none\", \"auto\", \"required\", "
        "{\"type\":\"function\",\"function\":{\"name\":...}} or "
        "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":...,\"tools\":[...]}}, not " +
            Shown(choice),
        "tool_choice");
  }
  SLIP_ASSIGN_OR_RETURN(out->name, NameOfOffered(choice, "tool_choice", *out));
  out->mode = Mode::kNamed;
  return {};
}

}  // namespace

bool TakesText(const Json& tools, const std::string& function, const std::string& parameter) {
  for (const Json& tool : tools) {
    const Json* called = Member(&tool, "function");
    const Json* name = Member(called, "name");
    if (name == nullptr || *name != function) continue;
    const Json* schema = Member(Member(Member(called, "parameters"), "properties"), parameter);
    const Json* type = Member(schema, "type");
    return type != nullptr && *type == "string";
  }
  return false;
}

Status ReadTools(FieldReader& reader, ChatInput* input) {
  const Json* tools = reader.Array("tools");
  const Json* choice = reader.Any("tool_choice");
  ToolChoice& out = input->tool_choice;
  out.parallel = reader.Bool("parallel_tool_calls").value_or(true);
  SLIP_RETURN_IF_ERROR(reader.status());
  if (tools == nullptr || tools->empty()) {
    // Frameworks send an empty list when nothing is plugged in, and their usual choice with it.
    const bool idle = choice == nullptr || *choice == "none" || (tools && *choice == "auto");
    if (idle) return {};
    return InvalidArgument("tool_choice needs tools", "tool_choice");
  }
  for (size_t i = 0; i < tools->size(); ++i) {
    SLIP_ASSIGN_OR_RETURN(std::string name,
                          NameOfFunction((*tools)[i], fmt::format("tools[{}]", i)));
    out.names.push_back(std::move(name));
  }
  out.mode = Mode::kAuto;
  if (choice != nullptr) SLIP_RETURN_IF_ERROR(ReadChoice(*choice, &out));
  if (out.mode == Mode::kNone) return {};
  input->tools = Json::array();
  for (const Json& tool : *tools) {
    const std::string& name = tool["function"]["name"].get_ref<const std::string&>();
    if (Contains(out.names, name)) input->tools.push_back(tool);
  }
  return {};
}

}  // namespace slipstream
