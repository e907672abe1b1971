#include "grammar/schema_check.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string_view>

namespace slipstream {
namespace {

using Json = nlohmann::json;
using Names = std::initializer_list<const char*>;

// One of these decides over a whole schema.
constexpr Names kHeads = {"$ref", "anyOf", "oneOf", "allOf"};
// Values are told one by one.
constexpr Names kValues = {"const", "enum"};
// From these the type is known without being told.
constexpr Names kTypes = {"type",  "properties",  "additionalProperties", "unevaluatedProperties",
                          "items", "prefixItems", "unevaluatedItems"};
constexpr Names kBounds = {
    "properties",
    "required",
    "patternProperties",
    "additionalProperties",
    "minProperties",
    "maxItems",
    "maxProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "minItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
};
constexpr Names kUnknown = {"not",          "if",          "dependentRequired", "dependentSchemas",
                            "dependencies", "$dynamicRef", "$recursiveRef",     "contains"};

// Where schemas stand in schemas: as the member itself, in a list, under names.
constexpr Names kSchemas = {"items", "additionalProperties", "propertyNames", "unevaluatedItems",
                            "unevaluatedProperties"};
constexpr Names kLists = {"anyOf", "oneOf", "allOf", "prefixItems"};
constexpr Names kMaps = {"properties", "patternProperties", "$defs", "definitions"};

const char* FirstOf(Names names, const Json& schema) {
  const auto found =
      std::find_if(names.begin(), names.end(), [&](auto name) { return schema.contains(name); });
  return found != names.end() ? *found : nullptr;
}

std::string NotEnforcedHere(const Json& schema) {
  if (const char* name = FirstOf(kUnknown, schema)) return std::string(name) + " is not supported";
  if (schema.value("uniqueItems", Json()) == true) return "uniqueItems is not supported";
  if (FirstOf(kValues, schema) != nullptr && !schema.contains("$ref")) return "";
  const char* bound = FirstOf(kBounds, schema);
  if (const char* head = FirstOf(kHeads, schema)) {
    for (const char* other : kHeads) {
      if (bound == nullptr && other != std::string_view(head) && schema.contains(other)) {
        bound = other;
      }
    }
    if (bound == nullptr) return "";
    return std::string(bound) + " beside " + head + " is not supported";
  }
  if (bound == nullptr || FirstOf(kTypes, schema) != nullptr) return "";
  return std::string(bound) + " without a type is not supported";
}

}  // namespace

std::string NotEnforced(const Json& schema) {
  if (!schema.is_object()) return "";
  std::string why = NotEnforcedHere(schema);
  const auto look = [&](const Json& inner) {
    if (why.empty()) why = NotEnforced(inner);
  };
  for (const char* name : kSchemas) {
    if (const auto at = schema.find(name); at != schema.end()) look(*at);
  }
  for (const char* name : kLists) {
    const auto at = schema.find(name);
    if (at == schema.end() || !at->is_array()) continue;
    for (const Json& inner : *at) look(inner);
  }
  for (const char* name : kMaps) {
    const auto at = schema.find(name);
    if (at == schema.end() || !at->is_object()) continue;
    for (const Json& inner : *at) look(inner);
  }
  return why;
}

}  // namespace slipstream
