#include "loader/gguf.h"

#include <fmt/core.h>

#include <cstring>
#include <limits>
#include <optional>

#include "loader/gguf_parser.h"
#include "loader/one_line.h"

namespace slipstream {
namespace {

template <typename T>
T Load(const char* p) {
  T v;
  std::memcpy(&v, p, sizeof(T));
  return v;
}

std::optional<int64_t> IntAt(GgufType type, const char* p) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kBool:
      return Load<uint8_t>(p);
    case GgufType::kI8:
      return Load<int8_t>(p);
    case GgufType::kU16:
      return Load<uint16_t>(p);
    case GgufType::kI16:
      return Load<int16_t>(p);
    case GgufType::kU32:
      return Load<uint32_t>(p);
    case GgufType::kI32:
      return Load<int32_t>(p);
    case GgufType::kI64:
      return Load<int64_t>(p);
    case GgufType::kU64: {
      const auto v = Load<uint64_t>(p);
      if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(v);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> FloatAt(GgufType type, const char* p) {
  if (type == GgufType::kF32) return Load<float>(p);
  if (type == GgufType::kF64) return Load<double>(p);
  const std::optional<int64_t> i = IntAt(type, p);
  return i ? std::optional<double>(static_cast<double>(*i)) : std::nullopt;
}

}  // namespace

const char* NameOf(GgufType type) {
  static constexpr const char* kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                           "bool", "string", "array", "u64", "i64", "f64"};
  const auto i = static_cast<size_t>(type);
  return i < std::size(kNames) ? kNames[i] : "?";
}

Result<GgufFile> GgufFile::Open(const std::string& path) {
  SLIP_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  SLIP_ASSIGN_OR_RETURN(GgufFile out, Parse(path, file.bytes()));
  out.file_ = std::move(file);
  return out;
}

Result<GgufFile> GgufFile::Parse(std::string path, std::string_view bytes) {
  return GgufParser(std::move(path), bytes).Run().map_error(OneLine);
}

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto it = key_index_.find(key);
  return it == key_index_.end() ? nullptr : &metadata_[it->second].second;
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

Result<const GgufValue*> GgufFile::Require(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return InvalidArgument(fmt::format("{}: metadata key '{}' is missing", path_, key));
  }
  return value;
}

tl::unexpected<Error> GgufFile::WrongType(std::string_view key, const GgufValue& value,
                                          std::string_view wanted) const {
  const bool array = value.type == GgufType::kArray;
  return InvalidArgument(fmt::format("{}: metadata key '{}' is {}{}, wanted {}", path_, key,
                                     array ? "an array of " : "a ",
                                     NameOf(array ? value.elem_type : value.type), wanted));
}

Result<int64_t> GgufFile::Int(std::string_view key) const {
  SLIP_ASSIGN_OR_RETURN(const GgufValue* value, Require(key));
  const auto v = IntAt(value->type, value->bytes.data());
  if (!v) return WrongType(key, *value, "an integer of at most 63 bits");
  return *v;
}

Result<double> GgufFile::Float(std::string_view key) const {
  SLIP_ASSIGN_OR_RETURN(const GgufValue* value, Require(key));
  const auto v = FloatAt(value->type, value->bytes.data());
  if (!v) return WrongType(key, *value, "a number");
  return *v;
}

Result<std::string_view> GgufFile::String(std::string_view key) const {
  SLIP_ASSIGN_OR_RETURN(const GgufValue* value, Require(key));
  if (value->type != GgufType::kString) return WrongType(key, *value, "a string");
  return value->bytes;
}

Result<int64_t> GgufFile::IntOr(std::string_view key, int64_t fallback) const {
  return Has(key) ? Int(key) : Result<int64_t>(fallback);
}

Result<double> GgufFile::FloatOr(std::string_view key, double fallback) const {
  return Has(key) ? Float(key) : Result<double>(fallback);
}

Result<std::string_view> GgufFile::StringOr(std::string_view key, std::string_view fallback) const {
  return Has(key) ? String(key) : Result<std::string_view>(fallback);
}

Result<bool> GgufFile::BoolOr(std::string_view key, bool fallback) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->type != GgufType::kBool) return WrongType(key, *value, "a bool");
  return value->bytes[0] != 0;
}

Result<std::vector<std::string_view>> GgufFile::Strings(std::string_view key) const {
  SLIP_ASSIGN_OR_RETURN(const GgufValue* value, Require(key));
  if (value->type != GgufType::kArray || value->elem_type != GgufType::kString) {
    return WrongType(key, *value, "an array of strings");
  }
  std::vector<std::string_view> out;
  out.reserve(value->count);
  // The parser walked these lengths already, so they stay inside the value.
  for (size_t pos = 0; pos < value->bytes.size();) {
    const auto n = Load<uint64_t>(value->bytes.data() + pos);
    out.push_back(value->bytes.substr(pos + 8, n));
    pos += 8 + n;
  }
  return out;
}

Result<std::vector<float>> GgufFile::Floats(std::string_view key) const {
  SLIP_ASSIGN_OR_RETURN(const GgufValue* value, Require(key));
  if (value->type != GgufType::kArray || value->elem_type != GgufType::kF32) {
    return WrongType(key, *value, "an array of f32");
  }
  std::vector<float> out(value->count);
  if (!out.empty()) std::memcpy(out.data(), value->bytes.data(), value->bytes.size());
  return out;
}

Result<std::vector<int64_t>> GgufFile::Ints(std::string_view key) const {
  SLIP_ASSIGN_OR_RETURN(const GgufValue* value, Require(key));
  if (value->type != GgufType::kArray) return WrongType(key, *value, "an array of integers");
  std::vector<int64_t> out;
  const size_t width = value->count > 0 ? value->bytes.size() / value->count : 0;
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto v = IntAt(value->elem_type, value->bytes.data() + i * width);
    if (!v) return WrongType(key, *value, "an array of integers");
    out.push_back(*v);
  }
  return out;
}

}  // namespace slipstream
