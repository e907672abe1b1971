#include "loader/safetensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

#include "loader/json_reader.h"
#include "loader/one_line.h"

namespace slipstream {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr size_t kMaxDims = 8;

std::optional<DType> DTypeFrom(std::string_view name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBF16;
  return std::nullopt;
}

// Reads the entries of one header.
class HeaderReader {
 public:
  HeaderReader(const std::string& path, std::string_view data) : path_(path), data_(data) {}

  Result<Safetensor> ReadTensor(const std::string& name, const Json& entry) const {
    if (!entry.is_object()) return Bad(name, "its header entry is not an object");
    Safetensor out;
    out.name = name;
    SLIP_RETURN_IF_ERROR(ReadDType(entry, &out));
    SLIP_ASSIGN_OR_RETURN(const uint64_t elems, ReadShape(entry, &out));
    const Json offsets = entry.value("data_offsets", Json());
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      return Bad(name, "'data_offsets' is not two byte offsets");
    }
    const auto begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > data_.size()) {
      return Bad(name, fmt::format("bytes {} to {} do not lie in the {} bytes of tensor data "
                                   "(truncated or corrupted)",
                                   begin, end, data_.size()));
    }
    out.data = data_.data() + begin;
    out.bytes = end - begin;
    if (!out.foreign_type.empty()) return out;
    out.bytes = BytesOf(out.dtype, elems);
    if (end - begin != out.bytes) {
      return Bad(name, fmt::format("shape and dtype {} need {} bytes, the header gives {}",
                                   NameOf(out.dtype), out.bytes, end - begin));
    }
    return out;
  }

 private:
  Status ReadDType(const Json& entry, Safetensor* out) const {
    const Json dtype = entry.value("dtype", Json());
    if (!dtype.is_string()) return Bad(out->name, "'dtype' is missing");
    const auto& text = dtype.get_ref<const std::string&>();
    const std::optional<DType> known = DTypeFrom(text);
    if (known) {
      out->dtype = *known;
    } else if (text.empty()) {
      return Bad(out->name, "'dtype' is empty");
    } else {
      out->foreign_type = text.substr(0, 32);
    }
    return {};
  }

  // Number of elements.
  Result<uint64_t> ReadShape(const Json& entry, Safetensor* out) const {
    const Json shape = entry.value("shape", Json());
    if (!shape.is_array() || shape.size() > kMaxDims) {
      return Bad(out->name, "'shape' is not a list of at most 8 sizes");
    }
    uint64_t elems = 1;
    for (const Json& dim : shape) {
      // 2^56 elements keep every later product of sizes far from overflow.
      if (!dim.is_number_unsigned() || dim.get<uint64_t>() == 0 ||
          dim.get<uint64_t>() > (uint64_t{1} << 56) / elems) {
        return Bad(out->name, "'shape' holds an impossible size");
      }
      elems *= dim.get<uint64_t>();
      out->shape.push_back(dim.get<int64_t>());
    }
    return elems;
  }

  tl::unexpected<Error> Bad(const std::string& name, std::string_view reason) const {
    return DataLoss(fmt::format("{}: tensor '{}': {}", path_, name, reason));
  }

  const std::string& path_;
  std::string_view data_;
};

Status CheckOverlap(const std::string& path, const std::vector<Safetensor>& sorted) {
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (static_cast<const char*>(sorted[i - 1].data) + sorted[i - 1].bytes > sorted[i].data) {
      return DataLoss(fmt::format("{}: tensors '{}' and '{}' overlap", path, sorted[i - 1].name,
                                  sorted[i].name));
    }
  }
  return {};
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  SLIP_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  SLIP_ASSIGN_OR_RETURN(SafetensorsFile out, Parse(path, file.bytes()));
  out.file_ = std::move(file);
  return out;
}

Result<SafetensorsFile> SafetensorsFile::Parse(std::string path, std::string_view bytes) {
  return ParseHeader(std::move(path), bytes).map_error(OneLine);
}

Result<SafetensorsFile> SafetensorsFile::ParseHeader(std::string path, std::string_view bytes) {
  if (bytes.size() < kLengthBytes) {
    return DataLoss(
        fmt::format("{}: {} bytes are too few for a safetensors file", path, bytes.size()));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - kLengthBytes) {
    return DataLoss(
        fmt::format("{}: claims a header of {} bytes, the file has {} and the limit is "
                    "{} (not safetensors, truncated or corrupted)",
                    path, header_bytes, bytes.size(), kMaxHeaderBytes));
  }
  SLIP_ASSIGN_OR_RETURN(const Json header,
                        ParseJsonObject(bytes.substr(kLengthBytes, header_bytes), path));
  SafetensorsFile out;
  out.path_ = std::move(path);
  const HeaderReader reader(out.path_, bytes.substr(kLengthBytes + header_bytes));
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    SLIP_ASSIGN_OR_RETURN(Safetensor tensor, reader.ReadTensor(name, entry));
    out.tensors_.push_back(std::move(tensor));
  }
  std::sort(out.tensors_.begin(), out.tensors_.end(),
            [](const Safetensor& a, const Safetensor& b) { return a.data < b.data; });
  SLIP_RETURN_IF_ERROR(CheckOverlap(out.path_, out.tensors_));
  for (Safetensor& t : out.tensors_) {
    if (!t.foreign_type.empty()) continue;
    // The format does not promise alignment; kernels need that of the element type.
    if (reinterpret_cast<uintptr_t>(t.data) % GeometryOf(t.dtype).block_bytes == 0) continue;
    out.aligned_copies_.push_back(std::make_unique<std::byte[]>(t.bytes));
    std::memcpy(out.aligned_copies_.back().get(), t.data, t.bytes);
    t.data = out.aligned_copies_.back().get();
  }
  return out;
}

}  // namespace slipstream
