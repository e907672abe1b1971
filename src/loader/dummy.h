// Random weights for a model known by its config.json alone (--load-format dummy): sizes and speed
// are real, words are not. Tensors have the names and shapes of the family's checkpoints. See
// checkpoint.h for threads and errors.
#pragma once

#include <memory>
#include <string>

#include "loader/random_block.h"
#include "loader/tensor_table.h"

namespace slipstream {

class DummyCheckpoint final : public TableCheckpoint {
 public:
  // `path`: config.json or the folder that holds it. Uses dummy_dtype and seed of `options`.
  static Result<std::unique_ptr<DummyCheckpoint>> Open(const std::string& path,
                                                       const LoadOptions& options);

  std::string_view format() const override { return "dummy"; }
  void ReleasePages() const override;

 private:
  Status Fill(const std::vector<CheckpointTensor>& wanted, const LoadOptions& options);

  RandomBlock matrices_;  // std 0.02 around 0
  RandomBlock norms_;     // std 0.02 around 1 (0 where the model adds the one itself)
};

}  // namespace slipstream
