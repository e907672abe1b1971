// RMS normalisation over rows (Zhang and Sennrich 2019), with an optional fused residual add.
// Stateless, any thread, rows split over workers; a row's result does not depend on the others.
#pragma once

#include <cstdint>

namespace slipstream::kernels {

struct RmsNormParams {
  const float* x = nullptr;       // [rows, cols] f32; with a residual: what is added to it
  float* residual = nullptr;      // [rows, cols] f32 or null: residual += x, and that is normalised
  const float* weight = nullptr;  // [cols] f32
  float* out = nullptr;           // [rows, cols] f32; may alias x
  int64_t rows = 0;
  int64_t cols = 0;
  float eps = 0.0f;
};

namespace reference {
void RmsNorm(const RmsNormParams& p);
}  // namespace reference

}  // namespace slipstream::kernels
