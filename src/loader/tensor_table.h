// What every kind of Checkpoint shares: path, config and a table of tensors found by name.
// Filled on one thread while opening, const afterwards.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "loader/checkpoint.h"

namespace slipstream {

class TableCheckpoint : public Checkpoint {
 public:
  const ModelConfig& config() const override { return config_; }
  const std::string& path() const override { return path_; }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  const CheckpointTensor* Find(std::string_view name) const override;

 protected:
  void set(std::string path, ModelConfig config) {
    path_ = std::move(path);
    config_ = std::move(config);
  }
  // Fails when another tensor has the name already.
  Status Add(CheckpointTensor tensor);

 private:
  std::string path_;
  ModelConfig config_;
  std::vector<CheckpointTensor> tensors_;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace slipstream
