// The activations of gated layers (arXiv 2002.05202). Device code.
#pragma once

namespace slipstream::kernels {

__device__ __forceinline__ float Activate(float x, bool gelu_tanh) {
  // GELU's 0.5 * (1 + tanh(u)) is the sigmoid of 2u, which has no cancellation.
  const float u = gelu_tanh ? 1.5957691216057308f * (x + 0.044715f * x * x * x) : x;
  return __fdividef(x, 1.0f + __expf(-u));
}

}  // namespace slipstream::kernels
