// What the small JSON files of a Hugging Face folder say about its tokenizer:
// tokenizer_config.json, special_tokens_map.json, generation_config.json, config.json,
// chat_template.jinja. Any thread. Fails on files that are malformed; files that are missing are no
// failure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace slipstream {

struct HfSettings {
  std::string bos_token, eos_token;  // spellings; empty: not named
  std::optional<int32_t> bos_id;
  std::vector<int32_t> eos_ids;
  std::optional<bool> add_bos, add_eos;
  std::string tokenizer_class;
  std::string chat_template;
};

Result<HfSettings> ReadHfSettings(const std::string& folder);

}  // namespace slipstream
