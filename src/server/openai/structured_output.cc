#include "server/openai/structured_output.h"

#include <fmt/core.h>

#include <string>
#include <utility>

namespace slipstream {
namespace {

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Collects the grammar of one request; more than one is an error.
class Collector {
 public:
  explicit Collector(FieldReader& reader) : reader_(reader) {}

  void Set(GrammarKind kind, std::string text, std::string field, bool strict = true) {
    if (source_) {
      return reader_.Reject(field, "cannot be combined with " + source_->field);
    }
    source_ = GrammarSource{kind, std::move(text), strict, std::move(field)};
  }
  void SetSchema(const Json& schema, std::string field, bool strict = true) {
    if (schema.is_string()) return Set(GrammarKind::kJsonSchema, schema, std::move(field), strict);
    if (!schema.is_object() && !schema.is_boolean()) {
      return reader_.Reject(field, "must be a JSON schema, not " + Shown(schema));
    }
    Set(GrammarKind::kJsonSchema, Dump(schema), std::move(field), strict);
  }
  void SetText(GrammarKind kind, const Json& text, std::string field) {
    if (!text.is_string()) return reader_.Reject(field, "must be a string, not " + Shown(text));
    Set(kind, text, std::move(field));
  }
  void SetChoice(const Json& choices, std::string field) {
    if (!choices.is_array() || choices.empty()) {
      return reader_.Reject(field, "must be an array of strings, not " + Shown(choices));
    }
    for (const Json& choice : choices) {
      if (!choice.is_string() || choice.get_ref<const std::string&>().empty()) {
        return reader_.Reject(field, "must hold strings that are not empty, not " + Shown(choice));
      }
    }
    Set(GrammarKind::kChoice, Dump(choices), std::move(field));
  }
  std::optional<GrammarSource> Take() { return reader_.ok() ? std::move(source_) : std::nullopt; }

 private:
  FieldReader& reader_;
  std::optional<GrammarSource> source_;
};

void ReadResponseFormat(FieldReader& reader, Collector* collector) {
  constexpr const char* kField = "response_format";
  const Json* format = reader.Object(kField);
  if (format == nullptr) return;
  const auto type = format->find("type");
  if (type == format->end() || !type->is_string()) {
    return reader.Reject(kField, "needs a type: text, json_object or json_schema");
  }
  if (*type == "text") return;
  if (*type == "json_object") {
    const Json schema = format->value("schema", Json());  // as llama.cpp has it
    if (!schema.is_null()) return collector->SetSchema(schema, kField);
    return collector->Set(GrammarKind::kJsonObject, "", kField);
  }
  if (*type != "json_schema") {
    return reader.Reject(kField, "of type " + Shown(*type) +
                                     " is not supported, only text, json_object and json_schema");
  }
  const auto wrapped = format->find("json_schema");
  if (wrapped == format->end() || !wrapped->is_object() || !wrapped->contains("schema")) {
    return reader.Reject(kField, "of type json_schema needs json_schema with a schema");
  }
  const Json strict = wrapped->value("strict", Json());
  if (!strict.is_null() && !strict.is_boolean()) {
    return reader.Reject(kField, "has strict " + Shown(strict) + ", which must be true or false");
  }
  collector->SetSchema((*wrapped)["schema"], kField, strict.is_null() || strict.get<bool>());
}

void ReadStructuredOutputs(FieldReader& reader, Collector* collector) {
  const Json* object = reader.Object("structured_outputs");
  if (object == nullptr) return;
  const auto field = [](const std::string& name) { return "structured_outputs." + name; };
  for (const auto& [name, value] : object->items()) {
    if (value.is_null()) continue;
    if (name == "json") {
      collector->SetSchema(value, field(name));
    } else if (name == "regex") {
      collector->SetText(GrammarKind::kRegex, value, field(name));
    } else if (name == "grammar") {
      collector->SetText(GrammarKind::kEbnf, value, field(name));
    } else if (name == "choice") {
      collector->SetChoice(value, field(name));
    } else if (name == "json_object" && value.is_boolean()) {
      if (value.get<bool>()) collector->Set(GrammarKind::kJsonObject, "", field(name));
    } else {
      reader.Reject(field(name.substr(0, 64)),
                    "is not supported; the answer would not be constrained");
    }
  }
}

}  // namespace

std::optional<GrammarSource> ReadStructuredOutput(FieldReader& reader) {
  Collector collector(reader);
  ReadResponseFormat(reader, &collector);
  ReadStructuredOutputs(reader, &collector);
  if (const Json* value = reader.Any("guided_json")) collector.SetSchema(*value, "guided_json");
  if (const Json* value = reader.Any("guided_regex")) {
    collector.SetText(GrammarKind::kRegex, *value, "guided_regex");
  }
  if (const Json* value = reader.Any("guided_choice")) collector.SetChoice(*value, "guided_choice");
  if (const Json* value = reader.Any("guided_grammar")) {
    collector.SetText(GrammarKind::kEbnf, *value, "guided_grammar");
  }
  // llama.cpp's names; its web page sends them empty.
  if (const Json* value = reader.Any("json_schema"); value != nullptr && *value != "") {
    collector.SetSchema(*value, "json_schema");
  }
  if (const Json* value = reader.Any("grammar"); value != nullptr && *value != "") {
    collector.SetText(GrammarKind::kEbnf, *value, "grammar");
  }
  for (const char* name : {"structural_tag", "functions", "function_call"}) {
    if (reader.Any(name) != nullptr) {
      reader.Reject(name, "is not supported by this server; the answer would not be constrained");
    }
  }
  return collector.Take();
}

}  // namespace slipstream
