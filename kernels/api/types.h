// Element types, quantized block geometry, status and work-split types shared by every kernel
// contract. Depends on the C++ standard library alone. All types are plain values; no ownership.
#pragma once

#include <cstddef>
#include <cstdint>

namespace slipstream {

// Element or block type of a buffer. Quantized types follow the GGUF (ggml) block formats bit for
// bit; their values in memory are blocks, not elements (see QuantGeometry).
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kI8,
  kU8,
  kI32,
  kI64,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

struct QuantGeometry {
  int block_elems;  // elements in one block; 1 for plain types
  int block_bytes;  // bytes of one block
};

constexpr QuantGeometry GeometryOf(DType t) {
  switch (t) {
    case DType::kF32:
    case DType::kI32:
      return {1, 4};
    case DType::kF16:
    case DType::kBF16:
      return {1, 2};
    case DType::kF8E4M3:
    case DType::kI8:
    case DType::kU8:
      return {1, 1};
    case DType::kI64:
      return {1, 8};
    case DType::kQ4_0:
      return {32, 18};
    case DType::kQ4_1:
      return {32, 20};
    case DType::kQ5_0:
      return {32, 22};
    case DType::kQ5_1:
      return {32, 24};
    case DType::kQ8_0:
      return {32, 34};
    case DType::kQ4_K:
      return {256, 144};
    case DType::kQ5_K:
      return {256, 176};
    case DType::kQ6_K:
      return {256, 210};
  }
  return {1, 0};
}

constexpr bool IsQuantized(DType t) { return GeometryOf(t).block_elems > 1; }

// Bytes of `elems` elements. REQUIRES: elems is a multiple of the block.
constexpr size_t BytesOf(DType t, size_t elems) {
  return elems / GeometryOf(t).block_elems * GeometryOf(t).block_bytes;
}

constexpr const char* NameOf(DType t) {
  switch (t) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kF8E4M3:
      return "F8_E4M3";
    case DType::kI8:
      return "I8";
    case DType::kU8:
      return "U8";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
    case DType::kQ4_0:
      return "Q4_0";
    case DType::kQ4_1:
      return "Q4_1";
    case DType::kQ5_0:
      return "Q5_0";
    case DType::kQ5_1:
      return "Q5_1";
    case DType::kQ8_0:
      return "Q8_0";
    case DType::kQ4_K:
      return "Q4_K";
    case DType::kQ5_K:
      return "Q5_K";
    case DType::kQ6_K:
      return "Q6_K";
  }
  return "?";
}

namespace kernels {

// What a launcher or kernel reports. The backend turns it into an Error with words.
enum class KernelStatus : uint8_t { kOk, kInvalidArgument, kUnsupported, kLaunchFailed };

// One worker's share of a parallel CPU kernel: worker `index` of `count`. Kernels split their own
// work; results do not depend on `count`.
struct Part {
  int index = 0;
  int count = 1;
};

// Half-open range of `total` items that belongs to `part`, in units of `grain` items.
struct Range {
  int64_t begin, end;
};
constexpr Range SplitRange(int64_t total, Part part, int64_t grain = 1) {
  const int64_t units = (total + grain - 1) / grain;
  const int64_t b = units * part.index / part.count * grain;
  const int64_t e = units * (part.index + 1) / part.count * grain;
  return {b < total ? b : total, e < total ? e : total};
}

}  // namespace kernels
}  // namespace slipstream
