// Elementwise kernels on f32 rows: gated activations (Shazeer 2020), soft cap, add. Stateless, any
// thread, elements split over workers.
#pragma once

#include <cstdint>

namespace slipstream::kernels {

struct GatedActivationParams {
  const float* gate_up = nullptr;  // [rows, 2 * cols]: gate, then up
  float* out = nullptr;            // [rows, cols]
  int64_t rows = 0;
  int64_t cols = 0;
  bool gelu_tanh = false;  // else SiLU
};

struct SoftCapParams {
  float* x = nullptr;  // x = cap * tanh(x / cap)
  int64_t elems = 0;
  float cap = 0.0f;
};

struct AddParams {
  float* x = nullptr;  // x += y
  const float* y = nullptr;
  int64_t elems = 0;
};

namespace reference {
void GatedActivation(const GatedActivationParams& p);
void SoftCap(const SoftCapParams& p);
}  // namespace reference

}  // namespace slipstream::kernels
