// What: values from JSON and JSON text from values, written as Python's json.dumps writes it.
// Owner: pure functions. Thread: any. Fails: throws jinja::Error (nesting, budget, a value that
//   JSON has no form for).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tokenizer/jinja/value.h"

namespace slipstream::jinja {

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

Value FromJson(const nlohmann::ordered_json& json);
std::string DumpJson(const Value& value, const JsonStyle& style);

}  // namespace slipstream::jinja
