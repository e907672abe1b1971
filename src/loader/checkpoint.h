// A model's files as named tensors and a neutral ModelConfig. Opened once, const afterwards; the
// views it gives point into memory-mapped files (or generated data) that live as long as the
// checkpoint. Any thread may read. Errors name file, tensor and reason; no input crashes or hangs.
//
// Tensor names are the Hugging Face ones of the llama family ("model.embed_tokens.weight",
// "model.layers.0.self_attn.q_proj.weight", ..., "model.norm.weight", "lm_head.weight"); GGUF names
// are mapped to them, so that models know one set of names.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/model_config.h"
#include "tensor/tensor.h"

namespace slipstream {

struct CheckpointTensor {
  std::string name;       // as models know it
  std::string file_name;  // as the file calls it
  std::string file;       // path of the file that holds it
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // outermost first
  const void* data = nullptr;
  size_t bytes = 0;
  FileRange range;  // of data, if it is part of a file
  // Not empty: the name of a type that nothing here reads. Then dtype says nothing, data is null
  // and asking for the tensor is an error; a file may hold such if no model needs them.
  std::string foreign_type;

  std::string_view type_name() const {
    return foreign_type.empty() ? std::string_view(NameOf(dtype)) : foreign_type;
  }
};

enum class LoadFormat { kAuto, kSafetensors, kGguf, kDummy };

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual const ModelConfig& config() const = 0;
  virtual std::string_view format() const = 0;  // "safetensors", "gguf", "dummy"
  virtual const std::string& path() const = 0;
  virtual const std::vector<CheckpointTensor>& tensors() const = 0;
  // Null when there is no such tensor.
  virtual const CheckpointTensor* Find(std::string_view name) const = 0;
  // Says that what was read so far has been copied: mapped pages may leave memory. Cheap; reading
  // them again is possible.
  virtual void ReleasePages() const {}

  // The tensor as [rows, cols]; an error naming file, tensor and both shapes if it differs.
  Result<WeightView> Matrix(std::string_view name, int64_t rows, int64_t cols) const;
  // A float vector [n] converted to f32, plus `add` on every element.
  Result<std::vector<float>> Vector(std::string_view name, int64_t n, float add = 0.0f) const;
};

// `path`: a .gguf file, a Hugging Face folder, or a folder (or config.json) for kDummy.
// `dummy_dtype`: kF32, kF16 or kBF16; `seed` makes dummy weights reproducible.
struct LoadOptions {
  LoadFormat format = LoadFormat::kAuto;
  DType dummy_dtype = DType::kBF16;
  uint64_t seed = 0;
};
Result<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& path,
                                                   const LoadOptions& options = {});

}  // namespace slipstream
