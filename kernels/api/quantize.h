// Quantized weights: the reference dequantizer of GGUF blocks, and the packed form that the CPU
// matrix kernels compute on. Plain functions, no state, any thread; nothing allocates or fails
// beyond the status returned. Block formats: ggml's block_q4_0 ... block_q6_K.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/api/types.h"

namespace slipstream::kernels {

namespace reference {
// out[i] = value of element i of `blocks`, for every float and quantized dtype of a weight.
// REQUIRES: elems is a multiple of the block of `dtype`.
KernelStatus Dequantize(DType dtype, const void* blocks, int64_t elems, float* out);
}  // namespace reference

// A weight matrix [rows, cols] regrouped, not converted, into panels of 16 rows (16 output
// features, one per vector lane). Rows beyond `rows` in the last panel are zero.
//
// A panel of a quantized type is, for each run of 32 columns, `quants`; then for each run its
// scales; then for each 256 columns (K types only) the super-scales:
//   quants  Q8_0            [8 groups of 4 columns][16 rows][4] int8
//           4-bit           [4][16][4] bytes: group g in low, group g + 4 in high nibbles
//           Q5_*            the same, then [16][4] bytes: bit g is the fifth bit of group g
//           Q6_K            the same, then [2][16][4] bytes: two bits each of groups 0-3 and 4-7
//   scales  Q8_0 Q4_0 Q5_0  d f16[16];  Q4_1 Q5_1  d f16[16], m f16[16]
//           Q4_K Q5_K       scale u8[16], min u8[16];  Q6_K  scale i8[2][16] (per 16 columns)
//   super   Q4_K Q5_K       d f16[16], dmin f16[16];  Q6_K  d f16[16]
// The same bits in the same number of bytes as the file, but Q4_K and Q5_K, whose 6-bit scales
// take a byte each (4 of 144 and 176 bytes more).
// Float types are [cols][16 rows], but BF16 is [cols / 2][16 rows][2], cols padded to 32 by zeros.
struct PackedMatrix {
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t panels = 0;        // ceil(rows / 16)
  int64_t panel_bytes = 0;   // multiple of 64
  int64_t scale_offset = 0;  // bytes from the panel's start to its scales
  int64_t super_offset = 0;  // and to its super-scales
  const uint8_t* data = nullptr;

  size_t bytes() const { return static_cast<size_t>(panels * panel_bytes); }
};

// Geometry of the packed form; data stays null. kUnsupported for dtypes that are not weights,
// kInvalidArgument if cols is not a multiple of the block.
KernelStatus PackedLayout(DType dtype, int64_t rows, int64_t cols, PackedMatrix* out);

// Packs rows [first_row, first_row + n) of `layout` from n contiguous checkpoint rows.
// `dst` is the whole packed matrix of layout.bytes(), zeroed beforehand. Different row ranges may
// be packed by different threads if no panel is shared.
void PackRows(const PackedMatrix& layout, uint8_t* dst, int64_t first_row, int64_t n,
              const void* src);

}  // namespace slipstream::kernels
