// JSON schemas drawn at random, and a check of values against them that shares no code with what
// constrains the answers. Knows: type, enum, const, anyOf, properties, required, items, minItems,
// maxItems, minLength, maxLength, minimum, maximum; other properties are never allowed.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace slipstream::testing {

class SchemaMaker {
 public:
  using json = nlohmann::json;
  explicit SchemaMaker(uint64_t seed) : rng_(seed) {}

  json Object(int depth = 0) {
    json schema = {{"type", "object"}, {"properties", json::object()}};
    const int count = Pick(1, 4);
    json required = json::array();
    for (int i = 0; i < count; ++i) {
      const std::string name = kNames[Pick(0, 5)] + std::to_string(i);
      schema["properties"][name] = Any(depth + 1);
      if (Pick(0, 2) > 0) required.push_back(name);
    }
    schema["required"] = required;
    if (Pick(0, 1) == 0) schema["additionalProperties"] = false;
    return schema;
  }
  json Any(int depth) {
    switch (Pick(0, depth < 3 ? 8 : 5)) {
      case 0:
        return {{"type", "boolean"}};
      case 1:
        return {{"type", "integer"}, {"minimum", Pick(-50, 0)}, {"maximum", Pick(1, 2000)}};
      case 2:
        return {{"type", "string"}, {"minLength", Pick(0, 2)}, {"maxLength", Pick(2, 8)}};
      case 3:
        return {{"enum", {"red", "green \"b\"", 3, nullptr, true}}};
      case 4:
        return {{"type", "null"}};
      case 5:
        return {{"const", Pick(0, 1) == 0 ? json("fixed") : json({1, "a"})}};
      case 6:
        return {{"type", "array"},
                {"items", Any(depth + 1)},
                {"minItems", Pick(0, 1)},
                {"maxItems", Pick(1, 3)}};
      case 7:
        return {{"anyOf", {Any(depth + 1), Any(depth + 1)}}};
      default:
        return Object(depth);
    }
  }
  int Pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng_); }

 private:
  static constexpr const char* kNames[] = {"name", "a b", "\xC3\xA9", "x\"y", "n", "$id"};
  std::mt19937_64 rng_;
};

inline size_t CountCharacters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

inline bool Fits(const nlohmann::json& value, const nlohmann::json& schema) {
  const auto within = [&](const char* low, const char* high, double x) {
    return x >= schema.value(low, -1e300) && x <= schema.value(high, 1e300);
  };
  if (schema.contains("anyOf")) {
    return std::any_of(schema["anyOf"].begin(), schema["anyOf"].end(),
                       [&](const auto& one) { return Fits(value, one); });
  }
  if (schema.contains("const")) return value == schema["const"];
  if (schema.contains("enum")) {
    return std::find(schema["enum"].begin(), schema["enum"].end(), value) != schema["enum"].end();
  }
  const std::string type = schema["type"];
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") {
    return value.is_number_integer() && within("minimum", "maximum", value.get<double>());
  }
  if (type == "string") {
    return value.is_string() &&
           within("minLength", "maxLength",
                  static_cast<double>(CountCharacters(value.get<std::string>())));
  }
  if (type == "array") {
    return value.is_array() && within("minItems", "maxItems", static_cast<double>(value.size())) &&
           std::all_of(value.begin(), value.end(),
                       [&](const auto& item) { return Fits(item, schema["items"]); });
  }
  if (!value.is_object()) return false;
  for (const auto& name : schema["required"]) {
    if (!value.contains(name.get<std::string>())) return false;
  }
  return std::all_of(value.items().begin(), value.items().end(), [&](const auto& item) {
    return schema["properties"].contains(item.key()) &&
           Fits(item.value(), schema["properties"][item.key()]);
  });
}

}  // namespace slipstream::testing
