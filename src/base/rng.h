// Counter-based random numbers: the same (seed, index) gives the same value on every platform and
// device, so sampling does not depend on batch composition. SplitMix64 finalizer (Steele et al.
// 2014).
#pragma once

#include <cstdint>

namespace slipstream {

constexpr uint64_t MixBits(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Uniform in [0, 1) with 24 bits.
constexpr float UniformAt(uint64_t seed, uint64_t index) {
  return static_cast<float>(MixBits(seed ^ MixBits(index)) >> 40) * (1.0f / 16777216.0f);
}

}  // namespace slipstream
