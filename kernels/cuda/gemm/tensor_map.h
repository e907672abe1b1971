// Tensor maps of row-major 16-bit matrices for bulk tensor copies: 64-column tiles in the 128-byte
// swizzle. Host code; any thread; about a microsecond. The encoder comes from the driver through
// the runtime, so nothing links libcuda. Fails with kUnsupported without a driver that has it,
// kInvalidArgument if it refuses the matrix.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/api/types.h"

namespace slipstream::kernels {

struct TileMapSpec {
  const void* data = nullptr;  // 16-byte aligned
  DType dtype = DType::kBF16;  // kBF16 or kF16
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row_stride = 0;  // elements, a multiple of 8
  int tile_rows = 0;       // 1..256; a tile may be taller than the matrix
};

KernelStatus MakeTileMap(const TileMapSpec& spec, CUtensorMap* map);

}  // namespace slipstream::kernels
