#include "loader/checkpoint.h"

#include <fmt/ranges.h>

#include <cstring>
#include <filesystem>
#include <utility>

#include "loader/dummy.h"
#include "loader/float_bits.h"
#include "loader/gguf_checkpoint.h"
#include "loader/hf_checkpoint.h"
#include "loader/one_line.h"
#include "loader/tensor_table.h"

namespace slipstream {
namespace {

constexpr const char* kGgufTypes = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K";
constexpr const char* kSafetensorsTypes = "F32, F16, BF16";

std::string ShapeText(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// The file's own name, with ours when it differs.
std::string Describe(const CheckpointTensor& t) {
  return t.file_name == t.name ? fmt::format("{}: tensor '{}'", t.file, t.name)
                               : fmt::format("{}: tensor '{}' ({})", t.file, t.file_name, t.name);
}

Result<const CheckpointTensor*> Require(const Checkpoint& checkpoint, std::string_view name,
                                        const std::vector<int64_t>& shape) {
  const CheckpointTensor* t = checkpoint.Find(name);
  if (t == nullptr) {
    return DataLoss(fmt::format("{}: tensor '{}' is missing", checkpoint.path(), name));
  }
  if (t->shape != shape) {
    return DataLoss(fmt::format("{} has shape {}, the configuration needs {}", Describe(*t),
                                ShapeText(t->shape), ShapeText(shape)));
  }
  if (!t->foreign_type.empty()) {
    return Fail(
        ErrorCode::kUnimplemented,
        fmt::format("{} has the unsupported type {} (supported: {})", Describe(*t), t->foreign_type,
                    checkpoint.format() == "gguf" ? kGgufTypes : kSafetensorsTypes));
  }
  return t;
}

template <typename T>
T LoadAt(const void* data, size_t i) {
  T v;
  std::memcpy(&v, static_cast<const char*>(data) + i * sizeof(T), sizeof(T));
  return v;
}

}  // namespace

Result<WeightView> Checkpoint::Matrix(std::string_view name, int64_t rows, int64_t cols) const {
  SLIP_ASSIGN_OR_RETURN(const CheckpointTensor* t, Require(*this, name, {rows, cols}));
  WeightView out{.data = t->data, .dtype = t->dtype, .rows = rows, .cols = cols, .file = t->range};
  out.file.path = t->file.c_str();
  return out;
}

Result<std::vector<float>> Checkpoint::Vector(std::string_view name, int64_t n, float add) const {
  SLIP_ASSIGN_OR_RETURN(const CheckpointTensor* t, Require(*this, name, {n}));
  std::vector<float> out(static_cast<size_t>(n));
  for (size_t i = 0; i < out.size(); ++i) {
    switch (t->dtype) {
      case DType::kF32:
        out[i] = LoadAt<float>(t->data, i) + add;
        break;
      case DType::kF16:
        out[i] = FloatFromF16(LoadAt<uint16_t>(t->data, i)) + add;
        break;
      case DType::kBF16:
        out[i] = FloatFromBf16(LoadAt<uint16_t>(t->data, i)) + add;
        break;
      default:
        return Fail(ErrorCode::kUnimplemented,
                    fmt::format("{} is a vector stored as {} (supported: F32, F16, BF16)",
                                Describe(*t), NameOf(t->dtype)));
    }
  }
  return out;
}

const CheckpointTensor* TableCheckpoint::Find(std::string_view name) const {
  const auto it = index_.find(std::string(name));
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

Status TableCheckpoint::Add(CheckpointTensor tensor) {
  if (!index_.emplace(tensor.name, tensors_.size()).second) {
    return DataLoss(fmt::format("{} appears twice", Describe(tensor)));
  }
  tensors_.push_back(std::move(tensor));
  return {};
}

namespace {

Result<std::unique_ptr<Checkpoint>> Open(const std::string& path, const LoadOptions& options) {
  if (options.format == LoadFormat::kDummy) return DummyCheckpoint::Open(path, options);
  if (options.format == LoadFormat::kSafetensors) return HfCheckpoint::Open(path);
  if (options.format == LoadFormat::kGguf) return GgufCheckpoint::Open(path);
  std::error_code ignored;  // a path that cannot be looked at fails to open with the reason
  if (std::filesystem::is_directory(path, ignored)) return HfCheckpoint::Open(path);
  if (path.ends_with(".safetensors") || path.ends_with(".json")) {
    return InvalidArgument(
        fmt::format("{}: give the folder that holds config.json and the weights", path));
  }
  return GgufCheckpoint::Open(path);
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& path,
                                                   const LoadOptions& options) {
  try {
    return Open(path, options).map_error(OneLine);
  } catch (const std::exception& e) {  // allocation and file names; parsers catch their own
    return Fail(ErrorCode::kResourceExhausted, fmt::format("{}: {}", path, e.what()));
  }
}

}  // namespace slipstream
