// Typed, range-checked reading of one JSON object. The first bad field is kept as the error, with
// its name in `param`; fields nobody asked for are listed at the end. Null equals absent. A value
// on one thread's stack; nothing throws. Source: RFC 8259.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace slipstream {

// Keeps the order of keys: chat templates print tool schemas as they were sent.
using Json = nlohmann::ordered_json;

// Parses a body; the error names the place. Bounds nesting, so that nothing recursive overflows.
Result<Json> ParseJsonObject(std::string_view body);

class FieldReader {
 public:
  // `path` is what error messages put before a field's name, e.g. "messages[2].".
  FieldReader(const Json& object, std::string path) : object_(object), path_(std::move(path)) {}

  // The field if it is there and not null, whatever its type.
  const Json* Any(const char* name);
  std::optional<bool> Bool(const char* name);
  std::optional<int64_t> Integer(const char* name, int64_t low, int64_t high);
  std::optional<double> Number(const char* name, double low, double high);
  std::optional<std::string> String(const char* name);
  const Json* Array(const char* name);
  const Json* Object(const char* name);

  void Reject(const std::string& name, const std::string& why);
  bool ok() const { return !error_; }
  Status status() const;
  // Fields that were not read and are not null, in the order they were sent.
  std::vector<std::string> Unread() const;

 private:
  void WrongType(const char* name, const std::string& wanted, const Json& got);

  const Json& object_;
  const std::string path_;
  std::set<std::string, std::less<>> read_;
  std::optional<Error> error_;
};

// A value as an error message shows it: short, on one line.
std::string Shown(const Json& value);

}  // namespace slipstream
