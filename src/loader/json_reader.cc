#include "loader/json_reader.h"

#include <fmt/core.h>

#include <limits>
#include <stdexcept>
#include <unordered_set>
#include <vector>

#include "loader/mapped_file.h"

namespace slipstream {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxFileBytes = size_t{64} << 20;

// Builds the document while looking for what the library would let pass.
class StrictCallback {
 public:
  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    // An exception is the only way to stop the library before it has built all of it.
    if (depth > kMaxDepth) throw std::runtime_error("nested too deeply");
    if (event == Json::parse_event_t::key && depth == 1) {
      const std::string& key = parsed.get_ref<const std::string&>();
      if (!keys_.insert(key).second) problem_ = fmt::format("key '{}' appears twice", key);
    }
    return true;
  }
  const std::string& problem() const { return problem_; }

 private:
  std::unordered_set<std::string> keys_;
  std::string problem_;
};

// The library's words, which name line and column, without its exception number and its quotation.
std::string_view Words(std::string_view what) {
  what = what.substr(0, what.find("; last read: "));
  const size_t end = what.find("] ");
  return end == std::string_view::npos ? what : what.substr(end + 2);
}

}  // namespace

Result<Json> ParseJsonObject(std::string_view text, const std::string& file) {
  try {
    StrictCallback check;
    Json out = Json::parse(text.begin(), text.end(), std::ref(check));
    if (!check.problem().empty()) return DataLoss(fmt::format("{}: {}", file, check.problem()));
    if (!out.is_object()) return DataLoss(fmt::format("{}: not a JSON object", file));
    return out;
  } catch (const std::exception& e) {
    return DataLoss(fmt::format("{}: {}", file, Words(e.what())));
  }
}

Result<Json> ReadJsonFile(const std::string& path) {
  SLIP_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxFileBytes));
  return ParseJsonObject(text, path);
}

const Json* JsonReader::Find(std::string_view key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool JsonReader::IsNull(std::string_view key) const {
  const auto it = object_.find(key);
  return it != object_.end() && it->is_null();
}

tl::unexpected<Error> JsonReader::Wrong(std::string_view key, std::string_view wanted) const {
  const Json* value = Find(key);
  if (value == nullptr) return InvalidArgument(fmt::format("{}: '{}' is missing", file_, key));
  std::string text = value->dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 60) + "...";
  return InvalidArgument(fmt::format("{}: '{}' is {}, wanted {}", file_, key, text, wanted));
}

Result<int64_t> JsonReader::Int(std::string_view key, std::optional<int64_t> fallback) const {
  const Json* value = Find(key);
  if (value == nullptr && fallback) return *fallback;
  const bool fits =
      value != nullptr && value->is_number_integer() &&
      (!value->is_number_unsigned() ||
       value->get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!fits) return Wrong(key, "an integer");
  return value->get<int64_t>();
}

Result<double> JsonReader::Float(std::string_view key, std::optional<double> fallback) const {
  const Json* value = Find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr || !value->is_number()) return Wrong(key, "a number");
  return value->get<double>();
}

Result<bool> JsonReader::Bool(std::string_view key, bool fallback) const {
  const Json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Wrong(key, "true or false");
  return value->get<bool>();
}

Result<std::string> JsonReader::String(std::string_view key, std::string fallback) const {
  const Json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) return Wrong(key, "a string");
  return value->get<std::string>();
}

Result<std::optional<JsonReader>> JsonReader::Object(std::string_view key) const {
  const Json* value = Find(key);
  if (value == nullptr) return std::optional<JsonReader>();
  if (!value->is_object()) return Wrong(key, "an object");
  return std::optional<JsonReader>(std::in_place, *value, file_);
}

}  // namespace slipstream
