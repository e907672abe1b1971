// Reads the header of a GGUF file into a GgufFile. Used once by GgufFile::Parse, on one thread.
// Every count, length and offset is compared with the bytes that are left before it is used, so
// that memory and time are bounded by the size of the file.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "loader/gguf.h"

namespace slipstream {

class GgufParser {
 public:
  GgufParser(std::string path, std::string_view bytes) : path_(std::move(path)), bytes_(bytes) {}
  Result<GgufFile> Run();

 private:
  template <typename T>
  Status Read(T* out, std::string_view what);
  Status ReadString(std::string_view* out, std::string_view what, uint64_t max_bytes);
  Status ReadHeader(GgufFile* out, uint64_t* num_tensors, uint64_t* num_keys);
  Status ReadMetadata(GgufFile* out, uint64_t num_keys);
  Status ReadValue(GgufType type, std::string_view key, GgufValue* out);
  Status ReadArray(std::string_view key, int depth, GgufValue* out);
  Status SkipElements(GgufType type, uint64_t count, std::string_view key, int depth);
  Status ReadTensors(GgufFile* out, uint64_t num_tensors);
  Status ReadTensorInfo(GgufTensor* tensor, uint64_t* offset);
  Status PlaceTensors(GgufFile* out, const std::vector<uint64_t>& offsets);
  Status CheckOverlap(const GgufFile& file) const;
  Result<uint64_t> Alignment(const GgufFile& file) const;

  uint64_t left() const { return bytes_.size() - pos_; }
  tl::unexpected<Error> Truncated(std::string_view what) const;
  tl::unexpected<Error> Bad(std::string reason) const;

  std::string path_;
  std::string_view bytes_;
  uint64_t pos_ = 0;
};

}  // namespace slipstream
