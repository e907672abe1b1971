#include "loader/dummy.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "loader/expected_tensors.h"
#include "loader/hf_config.h"

namespace slipstream {
namespace {

bool IsNorm(const CheckpointTensor& t) { return t.name.ends_with("norm.weight"); }

}  // namespace

Result<std::unique_ptr<DummyCheckpoint>> DummyCheckpoint::Open(const std::string& path,
                                                               const LoadOptions& options) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  const std::string file = folder ? (std::filesystem::path(path) / "config.json").string() : path;
  if (options.dummy_dtype != DType::kF32 && options.dummy_dtype != DType::kF16 &&
      options.dummy_dtype != DType::kBF16) {
    return InvalidArgument(
        fmt::format("dummy weights are F32, F16 or BF16, not {}", NameOf(options.dummy_dtype)));
  }
  SLIP_ASSIGN_OR_RETURN(ModelConfig config, ReadHfConfig(file));
  auto out = std::make_unique<DummyCheckpoint>();
  std::vector<CheckpointTensor> tensors = ExpectedTensors(config);
  for (CheckpointTensor& t : tensors) t.file = file;
  out->set(path, std::move(config));
  SLIP_RETURN_IF_ERROR(out->Fill(tensors, options));
  return out;
}

void DummyCheckpoint::ReleasePages() const {
  matrices_.ReleasePages();
  norms_.ReleasePages();
}

Status DummyCheckpoint::Fill(const std::vector<CheckpointTensor>& wanted,
                             const LoadOptions& options) {
  RandomBlock::Spec matrix{.dtype = options.dummy_dtype, .seed = options.seed};
  RandomBlock::Spec norm{.dtype = options.dummy_dtype,
                         .mean = config().norm_weight_plus_one ? 0.0f : 1.0f,
                         .seed = ~options.seed};
  const auto bytes_of = [&](const CheckpointTensor& t) {
    size_t elems = 1;
    for (const int64_t d : t.shape) elems *= static_cast<size_t>(d);
    return BytesOf(options.dummy_dtype, elems);
  };
  for (const CheckpointTensor& t : wanted) {
    RandomBlock::Spec& spec = IsNorm(t) ? norm : matrix;
    spec.total_bytes += bytes_of(t);
    spec.largest_bytes = std::max(spec.largest_bytes, bytes_of(t));
  }
  SLIP_ASSIGN_OR_RETURN(matrices_, RandomBlock::Make(matrix));
  SLIP_ASSIGN_OR_RETURN(norms_, RandomBlock::Make(norm));
  for (CheckpointTensor t : wanted) {
    t.dtype = options.dummy_dtype;
    t.bytes = bytes_of(t);
    t.data = (IsNorm(t) ? norms_ : matrices_).Next(t.bytes);
    SLIP_RETURN_IF_ERROR(Add(std::move(t)));
  }
  return {};
}

}  // namespace slipstream
