// Tile products. int8: a tile holds 16 rows by 16 outputs of one run of 32 columns (Q6_K: of half a
// run, for each half has its integer scale), exact int32 sums that end like those of gemm_int8.cc.
// bf16: accumulators stay in tiles over all of K; one row's arithmetic does not depend on how many
// rows a tile has.
#include "kernels/cpu/amx.h"
#include "kernels/cpu/formats.h"
#include "kernels/cpu/int8_epilogue.h"
#include "kernels/cpu/kernels.h"

namespace slipstream::kernels::SLIP_ISA {
namespace {

constexpr int kTileRows = 16;
// Fewer rows than this are quicker one by one; a tile of half runs does half the work.
constexpr int kMinTileRows = 5, kMinHalfTileRows = 14;
constexpr int kRunTile = 512;  // bytes of one run of 32 columns, 16 outputs, one byte each

template <class F>
SLIP_INLINE void UnpackSigned(const uint8_t* run, uint8_t* out) {
  U8x64 w[8];
  F::Unpack(run, w);
  for (int g = 0; g < 8; ++g) {
    StoreU8(out + 64 * g, F::kOffset > 0 ? SubU8(w[g], F::kOffset) : w[g]);
  }
}

// Ends run r for 16 rows: their int32 sums lie in `sums`.
template <class F>
SLIP_INLINE void EndTile(const PreparedRows& x, int64_t row, int64_t r, const int32_t* sums,
                         F32x16 scale, F32x16 min, F32x16* y) {
  const float* d = x.d + row * x.runs + r;
  const float* ds = x.ds + row * x.runs + r;
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
    y[i] = EndRun<F>(_mm512_load_si512(sums + 16 * i), scale, min, d[i * x.runs], ds[i * x.runs],
                     y[i]);
  }
}

// 16 rows against one panel. The tiles of the next run are multiplied while one run is ended.
template <class F, bool kDirect>
void TileRows(const GemmParams& p, int64_t panel_index, int64_t row, int64_t rows,
              const uint8_t* unpacked) {
  alignas(64) int32_t sums[2][kTileRows * 16];
  const PanelView panel = PanelOf(*p.w, panel_index);
  const PreparedRows& x = p.x;
  const int8_t* a = x.q + row * x.stride;
  const uint8_t* b = kDirect ? panel.quants : unpacked;
  F32x16 y[kTileRows];
  for (int i = 0; i < kTileRows; ++i) y[i] = Zero();
  int64_t r = 0;
  for (; r + 2 <= x.runs; r += 2) {
    TileZero<0>();
    TileLoad<4>(a + 32 * r, x.stride);
    TileLoad<6>(b + kRunTile * r, 64);
    TileDotS8S8<0, 4, 6>();
    TileZero<1>();
    TileLoad<5>(a + 32 * r + 32, x.stride);
    TileLoad<7>(b + kRunTile * (r + 1), 64);
    TileDotS8S8<1, 5, 7>();
    TileStore<0>(sums[0], 64);
    EndTile<F>(x, row, r, sums[0], F::Scale(panel, r), F::Min(panel, r), y);
    TileStore<1>(sums[1], 64);
    EndTile<F>(x, row, r + 1, sums[1], F::Scale(panel, r + 1), F::Min(panel, r + 1), y);
  }
  if (r < x.runs) {
    TileZero<0>();
    TileLoad<4>(a + 32 * r, x.stride);
    TileLoad<6>(b + kRunTile * r, 64);
    TileDotS8S8<0, 4, 6>();
    TileStore<0>(sums[0], 64);
    EndTile<F>(x, row, r, sums[0], F::Scale(panel, r), F::Min(panel, r), y);
  }
  for (int i = 0; i < rows; ++i) StoreOutput(p, panel_index, row + i, y[i]);
}

// Two tile products of 16 columns into accumulators C and C + 1.
template <int C>
SLIP_INLINE void DotHalves(const int8_t* a, int64_t a_stride, const uint8_t* b) {
  TileZero<C>();
  TileLoad<4>(a, a_stride);
  TileLoad<6>(b, 64);
  TileDotS8S8<C, 4, 6>();
  TileZero<C + 1>();
  TileLoad<5>(a + 16, a_stride);
  TileLoad<7>(b + kRunTile / 2, 64);
  TileDotS8S8<C + 1, 5, 7>();
}

// As EndTile, with an integer scale for each half of the run: its sums lie one after the other.
// They stay below 2^24, 2 * 16 * 127 * 32 * 128, so floats hold them exactly.
template <class F>
SLIP_INLINE void EndHalves(const PreparedRows& x, int64_t row, int64_t r, const int32_t* sums,
                           const PanelView& panel, F32x16* y) {
  const float* d = x.d + row * x.runs + r;
  const float* ds = x.ds + row * x.runs + r;
  const F32x16 scale = F::Scale(panel, r), min = F::Min(panel, r);
  const F32x16 low = ToF32(F::HalfScale(panel, r, 0)), high = ToF32(F::HalfScale(panel, r, 1));
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
    const F32x16 first = ToF32(_mm512_load_si512(sums + 16 * i));
    const F32x16 second = ToF32(_mm512_load_si512(sums + 16 * (kTileRows + i)));
    const F32x16 sum = Fma(first, low, Mul(second, high));
    y[i] = EndRun<F>(sum, scale, min, d[i * x.runs], ds[i * x.runs], y[i]);
  }
}

// As TileRows, for runs whose halves are scaled apart.
template <class F>
void TileRowsOfHalves(const GemmParams& p, int64_t panel_index, int64_t row, int64_t rows,
                      const uint8_t* unpacked) {
  alignas(64) int32_t sums[2][2 * kTileRows * 16];
  constexpr int kHalfSums = kTileRows * 16;
  const PanelView panel = PanelOf(*p.w, panel_index);
  const PreparedRows& x = p.x;
  const int8_t* a = x.q + row * x.stride;
  F32x16 y[kTileRows];
  for (int i = 0; i < kTileRows; ++i) y[i] = Zero();
  // Blocks have 256 columns, so the number of runs is even.
  for (int64_t r = 0; r < x.runs; r += 2) {
    DotHalves<0>(a + 32 * r, x.stride, unpacked + kRunTile * r);
    DotHalves<2>(a + 32 * r + 32, x.stride, unpacked + kRunTile * (r + 1));
    TileStore<0>(sums[0], 64);
    TileStore<1>(sums[0] + kHalfSums, 64);
    EndHalves<F>(x, row, r, sums[0], panel, y);
    TileStore<2>(sums[1], 64);
    TileStore<3>(sums[1] + kHalfSums, 64);
    EndHalves<F>(x, row, r + 1, sums[1], panel, y);
  }
  for (int i = 0; i < rows; ++i) StoreOutput(p, panel_index, row + i, y[i]);
}

template <class F>
int64_t PanelTiles(const GemmParams& p, int64_t panel, uint8_t* scratch) {
  constexpr bool kDirect = F::kSigned;  // the packed form is the tile form
  constexpr int kMinRows = F::kHalves ? kMinHalfTileRows : kMinTileRows;
  if (p.x.rows < kMinRows) return 0;
  if constexpr (!kDirect) {
    const PanelView view = PanelOf(*p.w, panel);
    for (int64_t r = 0; r < p.x.runs; ++r) {
      UnpackSigned<F>(view.quants + r * F::kQuants, scratch + r * kRunTile);
    }
  }
  int64_t row = 0;
  for (; row + kMinRows <= p.x.rows; row += kTileRows) {
    const int64_t rows = MinOf(kTileRows, p.x.rows - row);
    if constexpr (F::kHalves) {
      TileRowsOfHalves<F>(p, panel, row, rows, scratch);
    } else {
      TileRows<F, kDirect>(p, panel, row, rows, scratch);
    }
  }
  return MinOf(row, p.x.rows);
}

// Stores one bf16 accumulator tile.
SLIP_INLINE void StoreTile(const GemmParams& p, int64_t panel, int64_t row, const float* sums) {
  const int64_t rows = MinOf(kTileRows, p.x.rows - row);
  for (int64_t i = 0; i < rows; ++i) StoreOutput(p, panel, row + i, Load(sums + 16 * i));
}

// 16 rows against up to four panels: one activation tile, four independent accumulators.
void Bf16Row(const GemmParams& p, int64_t panel, int64_t count, int64_t row) {
  alignas(64) float sums[4][kTileRows * 16];
  const uint16_t* a = p.x.bf16 + row * p.x.stride;
  const uint8_t* b[4];
  for (int64_t j = 0; j < 4; ++j)
    b[j] = p.w->data + (panel + (j < count ? j : 0)) * p.w->panel_bytes;
  TileZero<0>();
  TileZero<1>();
  TileZero<2>();
  TileZero<3>();
  const int64_t steps = CeilDiv(p.w->cols, 32), a_stride = p.x.stride * 2;
  for (int64_t s = 0; s < steps; ++s) {
    TileLoad<4>(a + 32 * s, a_stride);
    TileLoad<6>(b[0] + 1024 * s, 64);
    TileDotBf16<0, 4, 6>();
    if (count > 1) {
      TileLoad<7>(b[1] + 1024 * s, 64);
      TileDotBf16<1, 4, 7>();
    }
    if (count > 2) {
      TileLoad<6>(b[2] + 1024 * s, 64);
      TileDotBf16<2, 4, 6>();
      TileLoad<7>(b[3] + 1024 * s, 64);
      TileDotBf16<3, 4, 7>();
    }
  }
  TileStore<0>(sums[0], 64);
  TileStore<1>(sums[1], 64);
  TileStore<2>(sums[2], 64);
  TileStore<3>(sums[3], 64);
  for (int64_t j = 0; j < count; ++j) StoreTile(p, panel + j, row, sums[j]);
}

// 32 rows against two panels.
void Bf16Square(const GemmParams& p, int64_t panel, int64_t row) {
  alignas(64) float sums[4][kTileRows * 16];
  const uint16_t* a = p.x.bf16 + row * p.x.stride;
  const uint16_t* a2 = a + kTileRows * p.x.stride;
  const uint8_t* b = p.w->data + panel * p.w->panel_bytes;
  const uint8_t* b2 = b + p.w->panel_bytes;
  TileZero<0>();
  TileZero<1>();
  TileZero<2>();
  TileZero<3>();
  const int64_t steps = CeilDiv(p.w->cols, 32), a_stride = p.x.stride * 2;
  for (int64_t s = 0; s < steps; ++s) {
    TileLoad<4>(a + 32 * s, a_stride);
    TileLoad<6>(b + 1024 * s, 64);
    TileDotBf16<0, 4, 6>();
    TileLoad<7>(b2 + 1024 * s, 64);
    TileDotBf16<1, 4, 7>();
    TileLoad<5>(a2 + 32 * s, a_stride);
    TileDotBf16<2, 5, 6>();
    TileDotBf16<3, 5, 7>();
  }
  TileStore<0>(sums[0], 64);
  TileStore<1>(sums[1], 64);
  TileStore<2>(sums[2], 64);
  TileStore<3>(sums[3], 64);
  StoreTile(p, panel, row, sums[0]);
  StoreTile(p, panel + 1, row, sums[1]);
  StoreTile(p, panel, row + kTileRows, sums[2]);
  StoreTile(p, panel + 1, row + kTileRows, sums[3]);
}

}  // namespace

int64_t GemmInt8Tiles(const GemmParams& p, int64_t panel, uint8_t* scratch) {
  switch (p.w->dtype) {
    case DType::kQ8_0:
      return PanelTiles<FormatQ8_0>(p, panel, scratch);
    case DType::kQ4_0:
      return PanelTiles<FormatQ4_0>(p, panel, scratch);
    case DType::kQ4_1:
      return PanelTiles<FormatQ4_1>(p, panel, scratch);
    case DType::kQ5_0:
      return PanelTiles<FormatQ5_0>(p, panel, scratch);
    case DType::kQ5_1:
      return PanelTiles<FormatQ5_1>(p, panel, scratch);
    case DType::kQ4_K:
      return PanelTiles<FormatQ4_K>(p, panel, scratch);
    case DType::kQ5_K:
      return PanelTiles<FormatQ5_K>(p, panel, scratch);
    case DType::kQ6_K:
      return PanelTiles<FormatQ6_K>(p, panel, scratch);
    default:
      return 0;
  }
}

void BeginTiles(const GemmParams& p) {
  const int run_bytes = p.w->dtype == DType::kQ6_K ? 16 : 32;
  LoadTileConfig(MakeTileConfig(kTileRows, p.x.form == ActForm::kInt8 ? run_bytes : 64));
}

void EndTiles() { ReleaseTiles(); }

void GemmBf16Tiles(const GemmParams& p, Range panels) {
  const bool few_rows = p.x.rows <= kTileRows;
  const int64_t width = few_rows ? 4 : 2;
  for (int64_t panel = panels.begin; panel < panels.end; panel += width) {
    const int64_t count = MinOf(width, panels.end - panel);
    int64_t row = 0;
    if (count == 2) {
      for (; row + kTileRows < p.x.rows; row += 2 * kTileRows) Bf16Square(p, panel, row);
    }
    for (; row < p.x.rows; row += kTileRows) Bf16Row(p, panel, count, row);
  }
}

}  // namespace slipstream::kernels::SLIP_ISA
