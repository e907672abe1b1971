// AMX tile instructions as inline assembly with memory clobbers: the compiler's intrinsics do not
// say that they read and write memory, so stores may be moved across them.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd.h"

namespace slipstream::kernels::SLIP_ISA {

// Register file shape: 0-3 accumulators, 4-5 activations, 6-7 weights.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

// 16 x 16 accumulators; activations [act_rows, act_bytes]; weights [act_bytes / 4, 64 bytes].
SLIP_INLINE TileConfig MakeTileConfig(int act_rows, int act_bytes) {
  TileConfig c;
  for (int t = 0; t < 4; ++t) {
    c.rows[t] = static_cast<uint8_t>(act_rows);
    c.bytes[t] = 64;
  }
  for (int t = 4; t < 6; ++t) {
    c.rows[t] = static_cast<uint8_t>(act_rows);
    c.bytes[t] = static_cast<uint16_t>(act_bytes);
  }
  for (int t = 6; t < 8; ++t) {
    c.rows[t] = static_cast<uint8_t>(act_bytes / 4);
    c.bytes[t] = 64;
  }
  return c;
}

SLIP_INLINE void LoadTileConfig(const TileConfig& c) {
  __asm__ volatile("ldtilecfg %0" ::"m"(c) : "memory");
}
SLIP_INLINE void ReleaseTiles() { __asm__ volatile("tilerelease" ::: "memory"); }

template <int T>
SLIP_INLINE void TileZero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(T));
}
template <int T>
SLIP_INLINE void TileLoad(const void* p, int64_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(T) : "memory");
}
template <int T>
SLIP_INLINE void TileStore(void* p, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(T) : "memory");
}
// Accumulator C += A (int8) * B (int8).
template <int C, int A, int B>
SLIP_INLINE void TileDotS8S8() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}
// Accumulator C += A (bf16) * B (bf16) in float32.
template <int C, int A, int B>
SLIP_INLINE void TileDotBf16() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}

}  // namespace slipstream::kernels::SLIP_ISA
