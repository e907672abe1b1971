// How a run of 32 columns of a packed panel (kernels/api/quantize.h) becomes eight byte vectors and
// its scales, for each quantized type. Compiled per instruction set.
//
// A format has: kQuants, the bytes of a run; kMax, the largest byte; kSigned, whether bytes are
// int8; kOffset, what to subtract from each unsigned byte; kHasMin; kHalves, two integer scales per
// run (Q6_K); Unpack(run, w); Scale(panel, run index); Min(panel, run index).
#pragma once

#include "kernels/api/quantize.h"
#include "kernels/cpu/simd.h"

namespace slipstream::kernels::SLIP_ISA {

// A panel's three sections.
struct PanelView {
  const uint8_t* quants;
  const uint8_t* scales;
  const uint8_t* super;
};

SLIP_INLINE PanelView PanelOf(const PackedMatrix& w, int64_t panel) {
  const uint8_t* p = w.data + panel * w.panel_bytes;
  return {p, p + w.scale_offset, p + w.super_offset};
}

SLIP_INLINE void UnpackNibbles(const uint8_t* run, U8x64* w) {
  for (int g = 0; g < 4; ++g) {
    const U8x64 v = LoadU8(run + 64 * g);
    w[g] = LowNibbles(v);
    w[g + 4] = HighNibbles(v);
  }
}

SLIP_INLINE void OrFifthBits(const uint8_t* run, U8x64* w) {
  const U8x64 h = LoadU8(run + 256);
  w[0] = OrShifted<4, 16>(w[0], h);
  w[1] = OrShifted<3, 16>(w[1], h);
  w[2] = OrShifted<2, 16>(w[2], h);
  w[3] = OrShifted<1, 16>(w[3], h);
  w[4] = OrShifted<0, 16>(w[4], h);
  w[5] = OrShifted<-1, 16>(w[5], h);
  w[6] = OrShifted<-2, 16>(w[6], h);
  w[7] = OrShifted<-3, 16>(w[7], h);
}

struct FormatQ8_0 {
  static constexpr int kQuants = 512, kOffset = 0, kMax = 128;
  static constexpr bool kSigned = true, kHasMin = false, kHalves = false;
  SLIP_INLINE void Unpack(const uint8_t* run, U8x64* w) {
    for (int g = 0; g < 8; ++g) w[g] = LoadU8(run + 64 * g);
  }
  SLIP_INLINE F32x16 Scale(const PanelView& p, int64_t r) { return LoadF16(p.scales + 32 * r); }
  SLIP_INLINE F32x16 Min(const PanelView&, int64_t) { return Zero(); }
};

struct FormatQ4_0 {
  static constexpr int kQuants = 256, kOffset = 8, kMax = 15;
  static constexpr bool kSigned = false, kHasMin = false, kHalves = false;
  SLIP_INLINE void Unpack(const uint8_t* run, U8x64* w) { UnpackNibbles(run, w); }
  SLIP_INLINE F32x16 Scale(const PanelView& p, int64_t r) { return LoadF16(p.scales + 32 * r); }
  SLIP_INLINE F32x16 Min(const PanelView&, int64_t) { return Zero(); }
};

struct FormatQ4_1 {
  static constexpr int kQuants = 256, kOffset = 0, kMax = 15;
  static constexpr bool kSigned = false, kHasMin = true, kHalves = false;
  SLIP_INLINE void Unpack(const uint8_t* run, U8x64* w) { UnpackNibbles(run, w); }
  SLIP_INLINE F32x16 Scale(const PanelView& p, int64_t r) { return LoadF16(p.scales + 64 * r); }
  SLIP_INLINE F32x16 Min(const PanelView& p, int64_t r) { return LoadF16(p.scales + 64 * r + 32); }
};

struct FormatQ5_0 : FormatQ4_0 {
  static constexpr int kQuants = 320, kOffset = 16, kMax = 31;
  SLIP_INLINE void Unpack(const uint8_t* run, U8x64* w) {
    UnpackNibbles(run, w);
    OrFifthBits(run, w);
  }
};

struct FormatQ5_1 : FormatQ4_1 {
  static constexpr int kQuants = 320, kMax = 31;
  SLIP_INLINE void Unpack(const uint8_t* run, U8x64* w) { FormatQ5_0::Unpack(run, w); }
};

struct FormatQ4_K {
  static constexpr int kQuants = 256, kOffset = 0, kMax = 15;
  static constexpr bool kSigned = false, kHasMin = true, kHalves = false;
  SLIP_INLINE void Unpack(const uint8_t* run, U8x64* w) { UnpackNibbles(run, w); }
  SLIP_INLINE F32x16 Scale(const PanelView& p, int64_t r) {
    return Mul(LoadF16(p.super + 64 * (r / 8)), ToF32(LoadU8AsI32(p.scales + 32 * r)));
  }
  SLIP_INLINE F32x16 Min(const PanelView& p, int64_t r) {
    const F32x16 m =
        Mul(LoadF16(p.super + 64 * (r / 8) + 32), ToF32(LoadU8AsI32(p.scales + 32 * r + 16)));
    return Sub(Zero(), m);
  }
};

struct FormatQ5_K : FormatQ4_K {
  static constexpr int kQuants = 320, kMax = 31;
  SLIP_INLINE void Unpack(const uint8_t* run, U8x64* w) { FormatQ5_0::Unpack(run, w); }
};

struct FormatQ6_K {
  static constexpr int kQuants = 384, kOffset = 32, kMax = 63;
  static constexpr bool kSigned = false, kHasMin = false, kHalves = true;
  SLIP_INLINE void Unpack(const uint8_t* run, U8x64* w) {
    UnpackNibbles(run, w);
    for (int half = 0; half < 2; ++half) {
      const U8x64 h = LoadU8(run + 256 + 64 * half);
      U8x64* v = w + 4 * half;
      v[0] = OrShifted<4, 0x30>(v[0], h);
      v[1] = OrShifted<2, 0x30>(v[1], h);
      v[2] = OrShifted<0, 0x30>(v[2], h);
      v[3] = OrShifted<-2, 0x30>(v[3], h);
    }
  }
  SLIP_INLINE F32x16 Scale(const PanelView& p, int64_t r) {
    return LoadF16(p.super + 32 * (r / 8));
  }
  SLIP_INLINE F32x16 Min(const PanelView&, int64_t) { return Zero(); }
  // The integer scale of half 0 or 1 of run r.
  SLIP_INLINE I32x16 HalfScale(const PanelView& p, int64_t r, int half) {
    return LoadI8AsI32(p.scales + 32 * r + 16 * half);
  }
};

}  // namespace slipstream::kernels::SLIP_ISA
