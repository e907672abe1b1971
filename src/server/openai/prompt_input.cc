#include "server/openai/prompt_input.h"

#include <fmt/core.h>

#include <limits>
#include <utility>
#include <vector>

namespace slipstream {
namespace {

// Token ids of one prompt, or an error in the reader.
std::vector<int32_t> ReadIds(FieldReader& reader, const char* name, const Json& list) {
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() > std::numeric_limits<int32_t>::max()) {
      reader.Reject(name, "must hold token ids, not " + Shown(id));
      return ids;
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

}  // namespace

void ReadPrompts(FieldReader& reader, const char* name, int most, GenerateRequest* request) {
  constexpr const char* kWanted =
      "must be a string, an array of strings, an array of token ids or an array of these";
  const Json* prompt = reader.Any(name);
  if (prompt == nullptr) return reader.Reject(name, "is required");
  if (prompt->is_string()) {
    request->prompts.emplace_back(prompt->get<std::string>());
    return;
  }
  if (!prompt->is_array()) return reader.Reject(name, kWanted);
  if (prompt->empty()) return reader.Reject(name, "is empty");
  if (prompt->front().is_number()) {
    request->prompts.emplace_back(ReadIds(reader, name, *prompt));
    return;
  }
  // Before anything is allocated per prompt and choice.
  if (prompt->size() > static_cast<size_t>(most)) {
    return reader.Reject(name, fmt::format("has {} prompts, the most is {}", prompt->size(), most));
  }
  for (const Json& item : *prompt) {
    if (item.is_string()) {
      request->prompts.emplace_back(item.get<std::string>());
    } else if (item.is_array()) {
      request->prompts.emplace_back(ReadIds(reader, name, item));
    } else {
      return reader.Reject(name, kWanted);
    }
  }
}

}  // namespace slipstream
