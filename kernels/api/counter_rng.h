// Counter-based random numbers for host and device: bit for bit those of base/rng.h (SplitMix64
// finalizer, Steele et al. 2014). Pure functions, cannot fail.
#pragma once

#include <cstdint>

#include "kernels/api/kv_layout.h"  // SLIP_HOST_DEVICE

namespace slipstream::kernels {

SLIP_HOST_DEVICE constexpr uint64_t MixBits(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Uniform in [0, 1) with 24 bits.
SLIP_HOST_DEVICE constexpr float UniformAt(uint64_t seed, uint64_t index) {
  return static_cast<float>(MixBits(seed ^ MixBits(index)) >> 40) * (1.0f / 16777216.0f);
}

}  // namespace slipstream::kernels
