// Typed reading of JSON objects that come with a model. A null value counts as absent, as in
// transformers. Internal to the loader: the only header of it that shows nlohmann/json. Pure, any
// thread; errors name file and key.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipstream {

using Json = nlohmann::json;

// A JSON object of at most 64 MiB. Fails for anything else.
Result<Json> ReadJsonFile(const std::string& path);
// `text` as a JSON object without duplicate keys at its top; `file` is named in messages.
Result<Json> ParseJsonObject(std::string_view text, const std::string& file);

class JsonReader {
 public:
  JsonReader(const Json& object, std::string file) : object_(object), file_(std::move(file)) {}

  const std::string& file() const { return file_; }
  // Null when absent or null.
  const Json* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  // Written as null, which for some keys means "off" rather than "not said".
  bool IsNull(std::string_view key) const;

  // Without `fallback` the key is required.
  Result<int64_t> Int(std::string_view key, std::optional<int64_t> fallback = {}) const;
  Result<double> Float(std::string_view key, std::optional<double> fallback = {}) const;
  Result<bool> Bool(std::string_view key, bool fallback) const;
  Result<std::string> String(std::string_view key, std::string fallback) const;
  // The object under `key`; empty when absent.
  Result<std::optional<JsonReader>> Object(std::string_view key) const;

  tl::unexpected<Error> Wrong(std::string_view key, std::string_view wanted) const;

 private:
  const Json& object_;  // outlived by the document it belongs to
  std::string file_;
};

}  // namespace slipstream
