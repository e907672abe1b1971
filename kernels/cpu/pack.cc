#include <algorithm>
#include <cstring>

#include "kernels/api/quantize.h"

namespace slipstream::kernels {
namespace {

constexpr int kRows = 16;
constexpr int kRun = 32;

// Bytes per panel and run of 32 columns (quants, scales) and per 256 columns (super-scales).
struct RunBytes {
  int quants, scales, super;
};

RunBytes RunBytesOf(DType t) {
  switch (t) {
    case DType::kQ8_0:
      return {512, 32, 0};
    case DType::kQ4_0:
      return {256, 32, 0};
    case DType::kQ4_1:
      return {256, 64, 0};
    case DType::kQ5_0:
      return {320, 32, 0};
    case DType::kQ5_1:
      return {320, 64, 0};
    case DType::kQ4_K:
      return {256, 32, 64};
    case DType::kQ5_K:
      return {320, 32, 64};
    case DType::kQ6_K:
      return {384, 32, 32};
    default:
      return {0, 0, 0};
  }
}

// One run of 32 columns of one row: its unsigned (Q8_0: signed) values and scale bytes.
struct Run {
  uint8_t values[kRun];
  uint8_t scales[4];  // as they are stored, per row
};

void UnpackNibbles(const uint8_t* qs, uint8_t* values) {
  for (int j = 0; j < 16; ++j) {
    values[j] = qs[j] & 15;
    values[j + 16] = qs[j] >> 4;
  }
}

void OrFifthBits(const uint8_t* qh, uint8_t* values) {
  uint32_t bits;
  std::memcpy(&bits, qh, 4);
  for (int j = 0; j < kRun; ++j) values[j] |= static_cast<uint8_t>(((bits >> j) & 1) << 4);
}

// 6-bit scale and minimum of sub-block j from the 12 packed bytes of Q4_K and Q5_K.
void ScaleMinK4(const uint8_t* s, int j, uint8_t* scale, uint8_t* min) {
  if (j < 4) {
    *scale = s[j] & 63;
    *min = s[j + 4] & 63;
  } else {
    *scale = static_cast<uint8_t>((s[j + 4] & 15) | ((s[j - 4] >> 6) << 4));
    *min = static_cast<uint8_t>((s[j + 4] >> 4) | ((s[j] >> 6) << 4));
  }
}

void ReadRun32(DType t, const uint8_t* block, Run* run) {
  switch (t) {
    case DType::kQ8_0:
      std::memcpy(run->scales, block, 2);
      std::memcpy(run->values, block + 2, kRun);
      return;
    case DType::kQ4_0:
      std::memcpy(run->scales, block, 2);
      UnpackNibbles(block + 2, run->values);
      return;
    case DType::kQ4_1:
      std::memcpy(run->scales, block, 4);
      UnpackNibbles(block + 4, run->values);
      return;
    case DType::kQ5_0:
      std::memcpy(run->scales, block, 2);
      UnpackNibbles(block + 6, run->values);
      OrFifthBits(block + 2, run->values);
      return;
    default:  // kQ5_1
      std::memcpy(run->scales, block, 4);
      UnpackNibbles(block + 8, run->values);
      OrFifthBits(block + 4, run->values);
      return;
  }
}

void ReadRunK(DType t, const uint8_t* block, int sub, Run* run) {
  if (t == DType::kQ6_K) {
    const uint8_t* ql = block + (sub / 4) * 64 + (sub % 2) * 32;
    const uint8_t* qh = block + 128 + (sub / 4) * 32;
    const int low_shift = sub % 4 < 2 ? 0 : 4, high_shift = (sub % 4) * 2;
    for (int j = 0; j < kRun; ++j) {
      const int low = (ql[j] >> low_shift) & 15, high = (qh[j] >> high_shift) & 3;
      run->values[j] = static_cast<uint8_t>(low | (high << 4));
    }
    std::memcpy(run->scales, block + 192 + 2 * sub, 2);
    return;
  }
  const uint8_t* qs = block + (t == DType::kQ5_K ? 48 : 16) + (sub / 2) * 32;
  for (int j = 0; j < kRun; ++j) run->values[j] = sub % 2 ? qs[j] >> 4 : qs[j] & 15;
  if (t == DType::kQ5_K) {
    const uint8_t* qh = block + 16;
    for (int j = 0; j < kRun; ++j) {
      run->values[j] |= static_cast<uint8_t>(((qh[j] >> sub) & 1) << 4);
    }
  }
  ScaleMinK4(block + 4, sub, &run->scales[0], &run->scales[1]);
}

void WriteQuants(DType t, const uint8_t* v, int lane, uint8_t* quants) {
  uint8_t* const at = quants + 4 * lane;
  if (t == DType::kQ8_0) {
    for (int g = 0; g < 8; ++g) std::memcpy(at + 64 * g, v + 4 * g, 4);
    return;
  }
  for (int g = 0; g < 4; ++g) {
    for (int j = 0; j < 4; ++j) {
      at[64 * g + j] = static_cast<uint8_t>((v[4 * g + j] & 15) | ((v[4 * g + 16 + j] & 15) << 4));
    }
  }
  if (t == DType::kQ6_K) {
    for (int i = 0; i < kRun; ++i) {
      const int g = i / 4;
      at[256 + 64 * (g / 4) + i % 4] |= static_cast<uint8_t>((v[i] >> 4) << (2 * (g % 4)));
    }
  } else if (t == DType::kQ5_0 || t == DType::kQ5_1 || t == DType::kQ5_K) {
    for (int i = 0; i < kRun; ++i) {
      at[256 + i % 4] |= static_cast<uint8_t>((v[i] >> 4) << (i / 4));
    }
  }
}

void WriteScales(DType t, const uint8_t* s, int lane, uint8_t* scales) {
  if (t == DType::kQ4_K || t == DType::kQ5_K || t == DType::kQ6_K) {
    scales[lane] = s[0];
    scales[16 + lane] = s[1];
    return;
  }
  std::memcpy(scales + 2 * lane, s, 2);
  if (t == DType::kQ4_1 || t == DType::kQ5_1) std::memcpy(scales + 32 + 2 * lane, s + 2, 2);
}

void PackQuantizedRow(const PackedMatrix& m, uint8_t* panel, int lane, const uint8_t* src) {
  const RunBytes bytes = RunBytesOf(m.dtype);
  const bool k_type = GeometryOf(m.dtype).block_elems == 256;
  const int block_bytes = GeometryOf(m.dtype).block_bytes;
  const int64_t runs = m.cols / kRun;
  Run run;
  for (int64_t r = 0; r < runs; ++r) {
    if (k_type) {
      ReadRunK(m.dtype, src + r / 8 * block_bytes, static_cast<int>(r % 8), &run);
    } else {
      ReadRun32(m.dtype, src + r * block_bytes, &run);
    }
    WriteQuants(m.dtype, run.values, lane, panel + r * bytes.quants);
    WriteScales(m.dtype, run.scales, lane, panel + m.scale_offset + r * bytes.scales);
  }
  if (!k_type) return;
  for (int64_t b = 0; b < runs / 8; ++b) {
    uint8_t* super = panel + m.super_offset + b * bytes.super;
    const uint8_t* block = src + b * block_bytes;
    if (m.dtype == DType::kQ6_K) {
      std::memcpy(super + 2 * lane, block + 208, 2);
    } else {
      std::memcpy(super + 2 * lane, block, 2);
      std::memcpy(super + 32 + 2 * lane, block + 2, 2);
    }
  }
}

void PackFloatRow(const PackedMatrix& m, uint8_t* panel, int lane, const uint8_t* src) {
  switch (m.dtype) {
    case DType::kF32:
      for (int64_t k = 0; k < m.cols; ++k) {
        std::memcpy(panel + (k * kRows + lane) * 4, src + k * 4, 4);
      }
      return;
    case DType::kF16:
      for (int64_t k = 0; k < m.cols; ++k) {
        std::memcpy(panel + (k * kRows + lane) * 2, src + k * 2, 2);
      }
      return;
    default:  // kBF16
      for (int64_t k = 0; k < m.cols; ++k) {
        std::memcpy(panel + (k / 2 * 2 * kRows + lane * 2 + k % 2) * 2, src + k * 2, 2);
      }
      return;
  }
}

}  // namespace

KernelStatus PackedLayout(DType dtype, int64_t rows, int64_t cols, PackedMatrix* out) {
  const QuantGeometry geometry = GeometryOf(dtype);
  if (rows < 1 || cols < 1 || cols % geometry.block_elems != 0) {
    return KernelStatus::kInvalidArgument;
  }
  PackedMatrix m{dtype, rows, cols, (rows + kRows - 1) / kRows, 0, 0, 0, nullptr};
  const RunBytes bytes = RunBytesOf(dtype);
  if (bytes.quants > 0) {
    m.scale_offset = cols / kRun * bytes.quants;
    m.super_offset = m.scale_offset + cols / kRun * bytes.scales;
    m.panel_bytes = m.super_offset + cols / 256 * bytes.super;
  } else if (dtype == DType::kF32) {
    m.panel_bytes = cols * kRows * 4;
  } else if (dtype == DType::kF16) {
    m.panel_bytes = cols * kRows * 2;
  } else if (dtype == DType::kBF16) {
    m.panel_bytes = (cols + kRun - 1) / kRun * kRun * kRows * 2;
  } else {
    return KernelStatus::kUnsupported;
  }
  m.panel_bytes = (m.panel_bytes + 63) / 64 * 64;
  *out = m;
  return KernelStatus::kOk;
}

void PackRows(const PackedMatrix& layout, uint8_t* dst, int64_t first_row, int64_t n,
              const void* src) {
  const auto* row = static_cast<const uint8_t*>(src);
  const size_t row_bytes = BytesOf(layout.dtype, static_cast<size_t>(layout.cols));
  for (int64_t r = first_row; r < first_row + n; ++r, row += row_bytes) {
    uint8_t* panel = dst + r / kRows * layout.panel_bytes;
    const int lane = static_cast<int>(r % kRows);
    if (IsQuantized(layout.dtype)) {
      PackQuantizedRow(layout, panel, lane, row);
    } else {
      PackFloatRow(layout, panel, lane, row);
    }
  }
}

}  // namespace slipstream::kernels
