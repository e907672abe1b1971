#include "tokenizer/eog.h"

#include <algorithm>
#include <array>

namespace slipstream {
namespace {

constexpr std::array<std::string_view, 14> kSpellings = {
    "<|eot_id|>",       // Llama 3
    "<|eom_id|>",       // Llama 3.1, before a tool call
    "<|im_end|>",       // ChatML: Qwen, SmolLM
    "<|end|>",          // Phi 3
    "<|return|>",       // gpt-oss
    "<|call|>",         // gpt-oss
    "<end_of_turn>",    // Gemma
    "<turn|>",          // Gemma 4
    "<|endoftext|>",    // GPT-2
    "<|end_of_text|>",  // Llama 3, Granite
    "<EOT>",
    "[EOT]",                  // Kimi
    "<end_of_utterance>",     // SmolVLM
    "<｜end▁of▁sentence｜>",  // DeepSeek
};

}  // namespace

void FindEndOfGeneration(TokenTable& table) {
  if (table.eos_id) table.eog_ids.push_back(*table.eos_id);
  // Where messages end with <|return|> or <|call|>, <|end|> only ends a part of one.
  const bool harmony = table.ids.contains("<|return|>") && table.ids.contains("<|call|>");
  for (const std::string_view spelling : kSpellings) {
    if (harmony && spelling == "<|end|>") continue;
    const auto it = table.ids.find(spelling);
    if (it != table.ids.end()) table.eog_ids.push_back(it->second);
  }
  std::sort(table.eog_ids.begin(), table.eog_ids.end());
  table.eog_ids.erase(std::unique(table.eog_ids.begin(), table.eog_ids.end()), table.eog_ids.end());
  for (const int32_t id : table.eog_ids) table.special[static_cast<size_t>(id)] = 1;
}

}  // namespace slipstream
