#include "server/openai/field_reader.h"

#include <fmt/core.h>

#include <cmath>
#include <exception>
#include <utility>

#include "server/json_text.h"

namespace slipstream {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr int kMaxMembers = 1280;
constexpr size_t kShownBytes = 64;

// What a scan of the brackets says before anything is built. Finding a key takes as long as an
// object has keys, so their number is bounded.
Status CheckShape(std::string_view text) {
  std::vector<int> members;  // of the open arrays and objects: colons seen
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      members.push_back(0);
      if (members.size() > kMaxDepth) {
        return InvalidArgument(fmt::format("the body nests deeper than {} levels", kMaxDepth));
      }
    } else if ((c == '}' || c == ']') && !members.empty()) {
      members.pop_back();
    } else if (c == ':' && !members.empty() && ++members.back() > kMaxMembers) {
      return InvalidArgument(
          fmt::format("an object of the body has more than {} fields", kMaxMembers));
    }
  }
  return {};
}

}  // namespace

Result<Json> ParseJsonObject(std::string_view body) {
  if (body.empty()) return InvalidArgument("the body is empty; a JSON object is expected");
  SLIP_RETURN_IF_ERROR(CheckShape(body));
  try {
    Json json = Json::parse(body);
    if (!json.is_object()) return InvalidArgument("the body is not a JSON object");
    return json;
  } catch (const Json::parse_error& e) {
    return InvalidArgument(fmt::format("the body is not valid JSON: error at byte {}", e.byte));
  } catch (const std::exception& e) {
    return InvalidArgument(fmt::format("the body is not valid JSON: {}", Clip(e.what(), 200)));
  }
}

std::string Shown(const Json& value) {
  if (value.is_string()) {
    std::string out;
    AppendJsonString(&out, Clip(value.get_ref<const std::string&>(), kShownBytes));
    return out;
  }
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  return Clip(value.dump(-1, ' ', false, Json::error_handler_t::replace), kShownBytes);
}

const Json* FieldReader::Any(const char* name) {
  const auto found = object_.find(name);
  if (found == object_.end()) return nullptr;
  read_.insert(name);
  return found->is_null() ? nullptr : &*found;
}

std::optional<bool> FieldReader::Bool(const char* name) {
  const Json* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  WrongType(name, "true or false", *value);
  return std::nullopt;
}

std::optional<int64_t> FieldReader::Integer(const char* name, int64_t low, int64_t high) {
  const Json* value = Any(name);
  if (value == nullptr) return std::nullopt;
  const std::string wanted = fmt::format("an integer between {} and {}", low, high);
  int64_t number = 0;
  if (value->is_number_unsigned()) {
    const uint64_t big = value->get<uint64_t>();
    if (high < 0 || big > static_cast<uint64_t>(high)) {
      WrongType(name, wanted, *value);
      return std::nullopt;
    }
    number = static_cast<int64_t>(big);
  } else if (value->is_number_integer()) {
    number = value->get<int64_t>();
  } else if (value->is_number_float() && std::abs(value->get<double>()) < 9e15 &&
             std::trunc(value->get<double>()) == value->get<double>()) {
    number = static_cast<int64_t>(value->get<double>());  // some clients send 16.0
  } else {
    WrongType(name, wanted, *value);
    return std::nullopt;
  }
  if (number >= low && number <= high) return number;
  WrongType(name, wanted, *value);
  return std::nullopt;
}

std::optional<double> FieldReader::Number(const char* name, double low, double high) {
  const Json* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const double number = value->get<double>();
    if (number >= low && number <= high) return number;
  }
  WrongType(name, fmt::format("a number between {} and {}", low, high), *value);
  return std::nullopt;
}

std::optional<std::string> FieldReader::String(const char* name) {
  const Json* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  WrongType(name, "a string", *value);
  return std::nullopt;
}

const Json* FieldReader::Array(const char* name) {
  const Json* value = Any(name);
  if (value == nullptr || value->is_array()) return value;
  WrongType(name, "an array", *value);
  return nullptr;
}

const Json* FieldReader::Object(const char* name) {
  const Json* value = Any(name);
  if (value == nullptr || value->is_object()) return value;
  WrongType(name, "an object", *value);
  return nullptr;
}

void FieldReader::WrongType(const char* name, const std::string& wanted, const Json& got) {
  Reject(name, fmt::format("must be {}, not {}", wanted, Shown(got)));
}

void FieldReader::Reject(const std::string& name, const std::string& why) {
  if (error_) return;
  error_ = Error{ErrorCode::kInvalidArgument, path_ + name + " " + why, path_ + name};
}

Status FieldReader::status() const {
  if (error_) return tl::unexpected(*error_);
  return {};
}

std::vector<std::string> FieldReader::Unread() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_.items()) {
    if (!value.is_null() && !read_.contains(name)) names.push_back(path_ + name);
  }
  return names;
}

}  // namespace slipstream
