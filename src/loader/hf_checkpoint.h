// A Hugging Face folder (config.json and safetensors, sharded or not) as a Checkpoint. Owns the
// mapped shards; see checkpoint.h for threads and errors.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "loader/safetensors.h"
#include "loader/tensor_table.h"

namespace slipstream {

class HfCheckpoint final : public TableCheckpoint {
 public:
  static Result<std::unique_ptr<HfCheckpoint>> Open(const std::string& folder);

  std::string_view format() const override { return "safetensors"; }
  void ReleasePages() const override;

 private:
  Status AddSingle(const std::string& path);
  Status AddShards(const std::string& folder, const std::string& index_path);
  Status AddTensor(const SafetensorsFile& file, const Safetensor& tensor);

  std::vector<SafetensorsFile> files_;
};

}  // namespace slipstream
