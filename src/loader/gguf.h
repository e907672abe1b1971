// One GGUF file (version 2 or 3, little-endian): metadata and tensor table, checked against the
// size of the file before anything is believed. Owns the mapping; every string_view and pointer it
// gives points into it and lives as long as the GgufFile (moves keep them valid). Const after Open;
// any thread may read. Errors name the file and the key or tensor.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "kernels/api/types.h"
#include "loader/mapped_file.h"

namespace slipstream {

enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};
const char* NameOf(GgufType type);

// A metadata value as it lies in the file; nothing is copied.
struct GgufValue {
  GgufType type = GgufType::kU8;
  GgufType elem_type = GgufType::kU8;  // arrays
  uint64_t count = 0;                  // arrays
  std::string_view bytes;              // number: its bytes; string: its text; array: its elements
};

struct GgufTensor {
  std::string_view name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // outermost first (the file has them innermost first)
  const void* data = nullptr;
  size_t bytes = 0;
  std::string foreign_type;  // not empty: another type by its name; its size is not known, bytes 0
};

class GgufFile {
 public:
  static Result<GgufFile> Open(const std::string& path);
  // The same from memory that the caller keeps; `path` is used in messages.
  static Result<GgufFile> Parse(std::string path, std::string_view bytes);

  const std::string& path() const { return path_; }
  uint32_t version() const { return version_; }
  const std::vector<std::pair<std::string_view, GgufValue>>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  void ReleasePages() const { file_.ReleasePages(); }
  FileRange RangeOf(const void* data) const { return file_.RangeOf(data); }

  // Null when there is no such key.
  const GgufValue* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  const GgufTensor* FindTensor(std::string_view name) const;

  // Typed access: a missing key (without a default) or another type is an error naming the key.
  // Int takes every integer width that fits int64; Float every number.
  Result<int64_t> Int(std::string_view key) const;
  Result<int64_t> IntOr(std::string_view key, int64_t fallback) const;
  Result<double> Float(std::string_view key) const;
  Result<double> FloatOr(std::string_view key, double fallback) const;
  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<std::string_view> String(std::string_view key) const;
  Result<std::string_view> StringOr(std::string_view key, std::string_view fallback) const;
  // Arrays, one pass, strings stay views. Ints also takes bools.
  Result<std::vector<std::string_view>> Strings(std::string_view key) const;
  Result<std::vector<float>> Floats(std::string_view key) const;
  Result<std::vector<int64_t>> Ints(std::string_view key) const;

 private:
  friend class GgufParser;
  Result<const GgufValue*> Require(std::string_view key) const;
  tl::unexpected<Error> WrongType(std::string_view key, const GgufValue& value,
                                  std::string_view wanted) const;

  MappedFile file_;
  std::string path_;
  uint32_t version_ = 0;
  std::vector<std::pair<std::string_view, GgufValue>> metadata_;
  std::unordered_map<std::string_view, size_t> key_index_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace slipstream
