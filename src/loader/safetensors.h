// One .safetensors file: header and tensor table, checked against the size of the file. Owns the
// mapping; data pointers live as long as the SafetensorsFile (moves keep them valid). Const after
// Open; any thread may read. Errors name file and tensor.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/api/types.h"
#include "loader/mapped_file.h"

namespace slipstream {

struct Safetensor {
  std::string name;
  DType dtype = DType::kF32;  // F32, F16 or BF16
  std::vector<int64_t> shape;
  const void* data = nullptr;  // aligned for its dtype
  size_t bytes = 0;
  std::string foreign_type;  // not empty: another dtype by its name; not aligned, sizes not checked
};

class SafetensorsFile {
 public:
  // The reference implementation's limit, for a file that claims more is damaged or hostile.
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;

  static Result<SafetensorsFile> Open(const std::string& path);
  // The same from memory that the caller keeps; `path` is used in messages.
  static Result<SafetensorsFile> Parse(std::string path, std::string_view bytes);

  const std::string& path() const { return path_; }
  const std::vector<Safetensor>& tensors() const { return tensors_; }
  void ReleasePages() const { file_.ReleasePages(); }
  FileRange RangeOf(const void* data) const { return file_.RangeOf(data); }

 private:
  static Result<SafetensorsFile> ParseHeader(std::string path, std::string_view bytes);

  MappedFile file_;
  std::string path_;
  std::vector<Safetensor> tensors_;  // in the order of their bytes
  std::vector<std::unique_ptr<std::byte[]>> aligned_copies_;
};

}  // namespace slipstream
