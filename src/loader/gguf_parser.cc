#include "loader/gguf_parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>

namespace slipstream {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr uint64_t kMaxTensorNameBytes = 1024;
constexpr int kMaxArrayDepth = 4;
constexpr uint32_t kMaxDims = 4;

// Bytes of one number; 0 for strings and arrays.
size_t WidthOf(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

bool IsKnown(GgufType type) {
  return static_cast<uint32_t>(type) <= static_cast<uint32_t>(GgufType::kF64);
}

// Numbers of enum ggml_type; an empty dtype means known by name only.
struct GgmlType {
  uint32_t id;
  const char* name;
  std::optional<DType> dtype;
};
constexpr GgmlType kGgmlTypes[] = {
    {0, "F32", DType::kF32},
    {1, "F16", DType::kF16},
    {2, "Q4_0", DType::kQ4_0},
    {3, "Q4_1", DType::kQ4_1},
    {6, "Q5_0", DType::kQ5_0},
    {7, "Q5_1", DType::kQ5_1},
    {8, "Q8_0", DType::kQ8_0},
    {9, "Q8_1", {}},
    {10, "Q2_K", {}},
    {11, "Q3_K", {}},
    {12, "Q4_K", DType::kQ4_K},
    {13, "Q5_K", DType::kQ5_K},
    {14, "Q6_K", DType::kQ6_K},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", {}},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", {}},
    {24, "I8", {}},
    {25, "I16", {}},
    {26, "I32", {}},
    {27, "I64", {}},
    {28, "F64", {}},
    {29, "IQ1_M", {}},
    {30, "BF16", DType::kBF16},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", {}},
};

const GgmlType* FindGgmlType(uint32_t id) {
  for (const GgmlType& t : kGgmlTypes) {
    if (t.id == id) return &t;
  }
  return nullptr;
}

}  // namespace

tl::unexpected<Error> GgufParser::Truncated(std::string_view what) const {
  return DataLoss(
      fmt::format("{}: truncated or corrupted: {} at byte {} does not fit the file of {} bytes",
                  path_, what, pos_, bytes_.size()));
}

tl::unexpected<Error> GgufParser::Bad(std::string reason) const {
  return DataLoss(fmt::format("{}: {}", path_, reason));
}

template <typename T>
Status GgufParser::Read(T* out, std::string_view what) {
  if (left() < sizeof(T)) return Truncated(what);
  std::memcpy(out, bytes_.data() + pos_, sizeof(T));
  pos_ += sizeof(T);
  return {};
}

Status GgufParser::ReadString(std::string_view* out, std::string_view what, uint64_t max_bytes) {
  uint64_t n = 0;
  SLIP_RETURN_IF_ERROR(Read(&n, what));
  if (n > left() || n > max_bytes) return Truncated(what);
  *out = bytes_.substr(pos_, n);
  pos_ += n;
  return {};
}

Result<GgufFile> GgufParser::Run() {
  GgufFile out;
  out.path_ = path_;
  uint64_t num_tensors = 0, num_keys = 0;
  SLIP_RETURN_IF_ERROR(ReadHeader(&out, &num_tensors, &num_keys));
  SLIP_RETURN_IF_ERROR(ReadMetadata(&out, num_keys));
  SLIP_RETURN_IF_ERROR(ReadTensors(&out, num_tensors));
  return out;
}

Status GgufParser::ReadHeader(GgufFile* out, uint64_t* num_tensors, uint64_t* num_keys) {
  if (bytes_.substr(0, 4) != "GGUF") return Bad("not a GGUF file (the first bytes are not 'GGUF')");
  pos_ = 4;
  SLIP_RETURN_IF_ERROR(Read(&out->version_, "the version"));
  if (out->version_ == 0x02000000 || out->version_ == 0x03000000) {
    return Fail(ErrorCode::kUnimplemented,
                fmt::format("{}: big-endian GGUF is not supported", path_));
  }
  if (out->version_ != 2 && out->version_ != 3) {
    return Fail(ErrorCode::kUnimplemented,
                fmt::format("{}: GGUF version {} is not supported (supported: 2, 3)", path_,
                            out->version_));
  }
  SLIP_RETURN_IF_ERROR(Read(num_tensors, "the tensor count"));
  SLIP_RETURN_IF_ERROR(Read(num_keys, "the metadata count"));
  // The smallest key takes 13 bytes, the smallest tensor entry 32.
  if (*num_keys > left() / 13) return Bad(fmt::format("claims {} metadata keys", *num_keys));
  if (*num_tensors > left() / 32 + 1) return Bad(fmt::format("claims {} tensors", *num_tensors));
  return {};
}

Status GgufParser::ReadMetadata(GgufFile* out, uint64_t num_keys) {
  for (uint64_t i = 0; i < num_keys; ++i) {
    std::string_view key;
    SLIP_RETURN_IF_ERROR(ReadString(&key, fmt::format("metadata key {}", i), kMaxKeyBytes));
    GgufType type{};
    SLIP_RETURN_IF_ERROR(Read(&type, key));
    if (!IsKnown(type)) {
      return Bad(
          fmt::format("key '{}' has unknown value type {}", key, static_cast<uint32_t>(type)));
    }
    GgufValue value;
    SLIP_RETURN_IF_ERROR(ReadValue(type, key, &value));
    if (!out->key_index_.emplace(key, out->metadata_.size()).second) {
      return Bad(fmt::format("key '{}' appears twice", key));
    }
    out->metadata_.emplace_back(key, value);
  }
  return {};
}

Status GgufParser::ReadValue(GgufType type, std::string_view key, GgufValue* out) {
  out->type = type;
  if (type == GgufType::kString) return ReadString(&out->bytes, key, UINT64_MAX);
  if (type == GgufType::kArray) return ReadArray(key, 0, out);
  const size_t width = WidthOf(type);
  if (width > left()) return Truncated(key);
  out->bytes = bytes_.substr(pos_, width);
  pos_ += width;
  return {};
}

Status GgufParser::ReadArray(std::string_view key, int depth, GgufValue* out) {
  SLIP_RETURN_IF_ERROR(Read(&out->elem_type, key));
  SLIP_RETURN_IF_ERROR(Read(&out->count, key));
  if (!IsKnown(out->elem_type)) {
    return Bad(fmt::format("key '{}' is an array of unknown type {}", key,
                           static_cast<uint32_t>(out->elem_type)));
  }
  if (depth >= kMaxArrayDepth) return Bad(fmt::format("key '{}' nests arrays too deeply", key));
  const uint64_t begin = pos_;
  SLIP_RETURN_IF_ERROR(SkipElements(out->elem_type, out->count, key, depth));
  out->bytes = bytes_.substr(begin, pos_ - begin);
  return {};
}

Status GgufParser::SkipElements(GgufType type, uint64_t count, std::string_view key, int depth) {
  if (const size_t width = WidthOf(type); width > 0) {
    if (count > left() / width) return Truncated(key);
    pos_ += count * width;
    return {};
  }
  // Every string or array takes at least 8 bytes, so the loop ends with the file.
  for (uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::kString) {
      std::string_view text;
      SLIP_RETURN_IF_ERROR(ReadString(&text, key, UINT64_MAX));
    } else {
      GgufValue inner;
      SLIP_RETURN_IF_ERROR(ReadArray(key, depth + 1, &inner));
    }
  }
  return {};
}

Result<uint64_t> GgufParser::Alignment(const GgufFile& file) const {
  SLIP_ASSIGN_OR_RETURN(const int64_t alignment, file.IntOr("general.alignment", 32));
  if (alignment < 8 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0) {
    return Bad(fmt::format("general.alignment is {}, must be a power of two from 8 to 1048576",
                           alignment));
  }
  return static_cast<uint64_t>(alignment);
}

Status GgufParser::ReadTensors(GgufFile* out, uint64_t num_tensors) {
  std::vector<uint64_t> offsets;
  for (uint64_t i = 0; i < num_tensors; ++i) {
    GgufTensor tensor;
    uint64_t offset = 0;
    SLIP_RETURN_IF_ERROR(ReadTensorInfo(&tensor, &offset));
    if (!out->tensor_index_.emplace(tensor.name, out->tensors_.size()).second) {
      return Bad(fmt::format("tensor '{}' appears twice", tensor.name));
    }
    out->tensors_.push_back(std::move(tensor));
    offsets.push_back(offset);
  }
  return PlaceTensors(out, offsets);
}

Status GgufParser::ReadTensorInfo(GgufTensor* tensor, uint64_t* offset) {
  SLIP_RETURN_IF_ERROR(ReadString(&tensor->name, "a tensor name", kMaxTensorNameBytes));
  const std::string_view name = tensor->name;
  uint32_t num_dims = 0, type_id = 0;
  SLIP_RETURN_IF_ERROR(Read(&num_dims, name));
  if (num_dims == 0 || num_dims > kMaxDims) {
    return Bad(fmt::format("tensor '{}' has {} dimensions", name, num_dims));
  }
  uint64_t elems = 1, row = 0;
  for (uint32_t d = 0; d < num_dims; ++d) {
    uint64_t dim = 0;
    SLIP_RETURN_IF_ERROR(Read(&dim, name));
    if (d == 0) row = dim;
    // 2^56 elements keep every later product of sizes far from overflow.
    if (dim == 0 || dim > (1ull << 56) / elems) {
      return Bad(fmt::format("tensor '{}' has an impossible dimension {}", name, dim));
    }
    elems *= dim;
    tensor->shape.insert(tensor->shape.begin(), static_cast<int64_t>(dim));
  }
  SLIP_RETURN_IF_ERROR(Read(&type_id, name));
  SLIP_RETURN_IF_ERROR(Read(offset, name));
  const GgmlType* type = FindGgmlType(type_id);
  if (type == nullptr || !type->dtype) {
    tensor->foreign_type = type != nullptr ? type->name : fmt::format("number {}", type_id);
    return {};
  }
  tensor->dtype = *type->dtype;
  if (row % GeometryOf(tensor->dtype).block_elems != 0) {
    return Bad(
        fmt::format("tensor '{}' has rows of {} elements, not a multiple of the {} block of {}",
                    name, row, type->name, GeometryOf(tensor->dtype).block_elems));
  }
  tensor->bytes = BytesOf(tensor->dtype, elems);
  return {};
}

Status GgufParser::PlaceTensors(GgufFile* out, const std::vector<uint64_t>& offsets) {
  SLIP_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment(*out));
  const uint64_t begin = (pos_ + alignment - 1) / alignment * alignment;
  const uint64_t room = begin < bytes_.size() ? bytes_.size() - begin : 0;
  for (size_t i = 0; i < offsets.size(); ++i) {
    GgufTensor& tensor = out->tensors_[i];
    if (offsets[i] % alignment != 0) {
      return Bad(fmt::format("tensor '{}' starts at offset {}, not a multiple of {}", tensor.name,
                             offsets[i], alignment));
    }
    if (offsets[i] > room || tensor.bytes > room - offsets[i]) {
      return Bad(fmt::format(
          "truncated or corrupted: tensor '{}' needs {} bytes at offset {}, the file has {} "
          "bytes of tensor data",
          tensor.name, tensor.bytes, offsets[i], room));
    }
    tensor.data = bytes_.data() + begin + offsets[i];
  }
  return CheckOverlap(*out);
}

Status GgufParser::CheckOverlap(const GgufFile& file) const {
  std::vector<const GgufTensor*> order;
  for (const GgufTensor& t : file.tensors()) order.push_back(&t);
  std::sort(order.begin(), order.end(),
            [](const GgufTensor* a, const GgufTensor* b) { return a->data < b->data; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (static_cast<const char*>(order[i - 1]->data) + order[i - 1]->bytes > order[i]->data) {
      return Bad(fmt::format("tensors '{}' and '{}' overlap", order[i - 1]->name, order[i]->name));
    }
  }
  return {};
}

}  // namespace slipstream
