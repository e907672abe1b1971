#include "loader/hf_checkpoint.h"

#include <fmt/core.h>

#include <filesystem>
#include <map>
#include <unordered_map>

#include "loader/hf_config.h"
#include "loader/json_reader.h"

namespace slipstream {
namespace {

namespace fs = std::filesystem;

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Multimodal wrappers put the text model under one of these; models know it without.
std::string TextModelName(std::string_view name) {
  for (const std::string_view prefix : {"language_model.model.", "model.language_model."}) {
    if (name.starts_with(prefix)) return fmt::format("model.{}", name.substr(prefix.size()));
  }
  constexpr std::string_view kHead = "language_model.lm_head.";
  if (name.starts_with(kHead)) return fmt::format("lm_head.{}", name.substr(kHead.size()));
  return std::string(name);
}

// shard -> its tensors. A shard is a plain file name: nothing outside the folder is opened.
using ShardMap = std::map<std::string, std::vector<std::string>>;
Result<ShardMap> ReadIndex(const std::string& path) {
  SLIP_ASSIGN_OR_RETURN(const Json document, ReadJsonFile(path));
  const Json* map = JsonReader(document, path).Find("weight_map");
  if (map == nullptr || !map->is_object() || map->empty()) {
    return DataLoss(fmt::format("{}: 'weight_map' is missing or empty", path));
  }
  ShardMap out;
  for (const auto& [tensor, shard] : map->items()) {
    const std::string file = shard.is_string() ? shard.get<std::string>() : "";
    if (file.empty() || file.find('/') != std::string::npos || file == "." || file == "..") {
      return DataLoss(fmt::format("{}: tensor '{}' is not mapped to a file name", path, tensor));
    }
    out[file].push_back(tensor);
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<HfCheckpoint>> HfCheckpoint::Open(const std::string& folder) {
  const fs::path base(folder);
  SLIP_ASSIGN_OR_RETURN(ModelConfig config, ReadHfConfig((base / "config.json").string()));
  auto out = std::make_unique<HfCheckpoint>();
  const fs::path single = base / "model.safetensors";
  const fs::path index = base / "model.safetensors.index.json";
  if (Exists(index)) {
    SLIP_RETURN_IF_ERROR(out->AddShards(folder, index.string()));
  } else if (Exists(single)) {
    SLIP_RETURN_IF_ERROR(out->AddSingle(single.string()));
  } else {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: holds neither model.safetensors nor model.safetensors.index.json",
                            folder));
  }
  out->set(folder, std::move(config));
  return out;
}

Status HfCheckpoint::AddSingle(const std::string& path) {
  SLIP_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
  for (const Safetensor& t : file.tensors()) SLIP_RETURN_IF_ERROR(AddTensor(file, t));
  files_.push_back(std::move(file));
  return {};
}

Status HfCheckpoint::AddShards(const std::string& folder, const std::string& index_path) {
  SLIP_ASSIGN_OR_RETURN(const ShardMap shards, ReadIndex(index_path));
  for (const auto& [name, tensors] : shards) {
    auto file = SafetensorsFile::Open((fs::path(folder) / name).string());
    if (!file) {
      return tl::unexpected(
          std::move(file).error().With(fmt::format("{} needs shard '{}'", index_path, name)));
    }
    std::unordered_map<std::string_view, const Safetensor*> by_name;
    for (const Safetensor& t : file->tensors()) by_name.emplace(t.name, &t);
    for (const std::string& tensor : tensors) {
      const auto it = by_name.find(tensor);
      if (it == by_name.end()) {
        return DataLoss(fmt::format("{}: tensor '{}' is missing, {} says it is there", file->path(),
                                    tensor, index_path));
      }
      SLIP_RETURN_IF_ERROR(AddTensor(*file, *it->second));
    }
    files_.push_back(std::move(*file));
  }
  return {};
}

Status HfCheckpoint::AddTensor(const SafetensorsFile& file, const Safetensor& t) {
  return Add({.name = TextModelName(t.name),
              .file_name = t.name,
              .file = file.path(),
              .dtype = t.dtype,
              .shape = t.shape,
              .data = t.foreign_type.empty() ? t.data : nullptr,
              .bytes = t.bytes,
              .range = file.RangeOf(t.data),
              .foreign_type = t.foreign_type});
}

void HfCheckpoint::ReleasePages() const {
  for (const SafetensorsFile& f : files_) f.ReleasePages();
}

}  // namespace slipstream
