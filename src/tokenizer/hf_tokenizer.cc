// Tokenizers from Hugging Face folders.
#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>

#include "base/whole_file.h"
#include "tokenizer/eog.h"
#include "tokenizer/hf_settings.h"
#include "tokenizer/pipeline_tokenizer.h"
#include "tokenizer/sentencepiece_model.h"
#include "tokenizer/tokenizer_json.h"

namespace slipstream {
namespace {

constexpr size_t kMaxTokenizerBytes = size_t{512} << 20;

// Classes for which the reference builds BOS and EOS from add_bos_token and add_eos_token instead
// of the post_processor of the file.
bool FlagsDecideBorders(const std::string& tokenizer_class) {
  for (const char* family : {"Llama", "Gemma", "Cohere"}) {
    if (tokenizer_class.find(family) != std::string::npos) return true;
  }
  return false;
}

void SetBorder(std::optional<bool> wanted, std::optional<int32_t> id,
               std::vector<int32_t>& border) {
  if (!wanted || !id) return;
  const bool there = std::find(border.begin(), border.end(), *id) != border.end();
  if (*wanted && !there) border.insert(border.begin(), *id);
  if (!*wanted && there) border.erase(std::remove(border.begin(), border.end(), *id), border.end());
}

void Apply(const HfSettings& settings, ParsedTokenizer& parsed) {
  TokenTable& table = parsed.table;
  const auto find = [&](const std::string& spelling) -> std::optional<int32_t> {
    const auto it = table.ids.find(spelling);
    return it == table.ids.end() ? std::nullopt : std::optional<int32_t>(it->second);
  };
  const auto in_range = [&](int32_t id) { return static_cast<size_t>(id) < table.bytes.size(); };
  table.bos_id = find(settings.bos_token);
  if (!table.bos_id && settings.bos_id && in_range(*settings.bos_id))
    table.bos_id = settings.bos_id;
  table.eos_id = find(settings.eos_token);
  for (const int32_t id : settings.eos_ids) {
    if (!in_range(id)) continue;
    if (!table.eos_id) table.eos_id = id;
    table.eog_ids.push_back(id);
  }
  if (FlagsDecideBorders(settings.tokenizer_class)) {
    SetBorder(settings.add_bos, table.bos_id, parsed.pipeline.prefix);
    SetBorder(settings.add_eos, table.eos_id, parsed.pipeline.suffix);
  }
  table.chat_template = settings.chat_template;
  FindEndOfGeneration(table);
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> MakeTokenizerFromHfFolder(const std::string& path) {
  std::error_code ec;
  const std::string json_file = path + "/tokenizer.json", model_file = path + "/tokenizer.model";
  const bool has_json = std::filesystem::exists(json_file, ec);
  if (!has_json && !std::filesystem::exists(model_file, ec)) {
    return Fail(ErrorCode::kNotFound, path + ": has neither tokenizer.json nor tokenizer.model");
  }
  SLIP_ASSIGN_OR_RETURN(const HfSettings settings, ReadHfSettings(path));
  const std::string& file = has_json ? json_file : model_file;
  SLIP_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(file, kMaxTokenizerBytes));
  if (!has_json) {
    auto tokenizer = MakeSentencePieceTokenizer(text, settings);
    if (!tokenizer) return tl::unexpected(std::move(tokenizer.error()).With(file));
    return tokenizer;
  }
  auto parsed = ParseTokenizerJson(text);
  if (!parsed) return tl::unexpected(std::move(parsed.error()).With(file));
  Apply(settings, *parsed);
  return std::make_shared<PipelineTokenizer>(std::move(parsed->table), std::move(parsed->pipeline));
}

}  // namespace slipstream
