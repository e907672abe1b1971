// Embedding lookup from a packed table (quantize.h), so that a tied output projection shares its
// memory. Stateless, any thread, rows split over workers.
#pragma once

#include <cstdint>

#include "kernels/api/quantize.h"

namespace slipstream::kernels {

struct EmbedParams {
  const PackedMatrix* table = nullptr;
  const int32_t* ids = nullptr;  // [n]; REQUIRES 0 <= id < table->rows
  int64_t n = 0;
  float scale = 1.0f;
  float* out = nullptr;  // [n, table->cols] f32
};

}  // namespace slipstream::kernels
