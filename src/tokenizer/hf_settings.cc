#include "tokenizer/hf_settings.h"

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/whole_file.h"

namespace slipstream {
namespace {

using nlohmann::json;

constexpr size_t kMaxSettingsBytes = size_t{64} << 20;  // tokenizer_config.json may list tokens

// The object in a file; null if there is no such file.
Result<json> ReadObject(const std::string& folder, const char* name) {
  const std::string path = folder + "/" + name;
  std::error_code ec;
  if (!std::filesystem::exists(path, ec)) return json();
  SLIP_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxSettingsBytes));
  try {
    json object = json::parse(text);
    if (!object.is_object()) return InvalidArgument(path + ": is not a JSON object");
    return object;
  } catch (const json::exception& e) {
    return InvalidArgument(path + ": " + e.what());
  }
}

const json& Member(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

// A token is written as text or as {"content": text, ...}.
void TakeToken(const json& value, std::string& token) {
  const json& text = value.is_object() ? Member(value, "content") : value;
  if (token.empty() && text.is_string()) token = text.get<std::string>();
}

void TakeFlag(const json& value, std::optional<bool>& flag) {
  if (value.is_boolean()) flag = value.get<bool>();
}

std::optional<int32_t> IdOf(const json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  const int64_t id = value.get<int64_t>();
  if (id < 0 || id > std::numeric_limits<int32_t>::max()) return std::nullopt;
  return static_cast<int32_t>(id);
}

void TakeIds(const json& object, HfSettings& settings) {
  if (!settings.bos_id) settings.bos_id = IdOf(Member(object, "bos_token_id"));
  if (!settings.eos_ids.empty()) return;
  const json& eos = Member(object, "eos_token_id");
  if (eos.is_array()) {
    for (const json& value : eos) {
      if (const auto id = IdOf(value)) settings.eos_ids.push_back(*id);
    }
  } else if (const auto id = IdOf(eos)) {
    settings.eos_ids.push_back(*id);
  }
}

// One template, or a list of named ones of which "default" is meant.
std::string TemplateOf(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  std::string first;
  if (!value.is_array()) return first;
  for (const json& entry : value) {
    const json& name = Member(entry, "name");
    const json& text = Member(entry, "template");
    if (!text.is_string()) continue;
    if (name.is_string() && name.get_ref<const std::string&>() == "default") {
      return text.get<std::string>();
    }
    if (first.empty()) first = text.get<std::string>();
  }
  return first;
}

}  // namespace

Result<HfSettings> ReadHfSettings(const std::string& folder) {
  HfSettings settings;
  SLIP_ASSIGN_OR_RETURN(const json config, ReadObject(folder, "tokenizer_config.json"));
  SLIP_ASSIGN_OR_RETURN(const json map, ReadObject(folder, "special_tokens_map.json"));
  SLIP_ASSIGN_OR_RETURN(const json generation, ReadObject(folder, "generation_config.json"));
  SLIP_ASSIGN_OR_RETURN(const json model, ReadObject(folder, "config.json"));
  for (const json* object : {&config, &map}) {
    TakeToken(Member(*object, "bos_token"), settings.bos_token);
    TakeToken(Member(*object, "eos_token"), settings.eos_token);
  }
  TakeIds(generation, settings);
  TakeIds(model, settings);
  TakeFlag(Member(config, "add_bos_token"), settings.add_bos);
  TakeFlag(Member(config, "add_eos_token"), settings.add_eos);
  const json& name = Member(config, "tokenizer_class");
  if (name.is_string()) settings.tokenizer_class = name.get<std::string>();

  const std::string file = folder + "/chat_template.jinja";
  std::error_code ec;
  if (std::filesystem::exists(file, ec)) {
    SLIP_ASSIGN_OR_RETURN(settings.chat_template, ReadWholeFile(file, kMaxSettingsBytes));
    return settings;
  }
  SLIP_ASSIGN_OR_RETURN(const json processor, ReadObject(folder, "chat_template.json"));
  settings.chat_template = TemplateOf(Member(processor, "chat_template"));
  if (settings.chat_template.empty()) {
    settings.chat_template = TemplateOf(Member(config, "chat_template"));
  }
  return settings;
}

}  // namespace slipstream
