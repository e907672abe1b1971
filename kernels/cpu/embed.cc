// One row of a packed table back to float32: the row is one lane of its panel.
#include "kernels/cpu/formats.h"
#include "kernels/cpu/kernels.h"

namespace slipstream::kernels::SLIP_ISA {
namespace {

template <class F>
void QuantizedRow(const PackedMatrix& w, int64_t row, float scale, float* out) {
  const PanelView panel = PanelOf(w, row / kLanes);
  const int lane = static_cast<int>(row % kLanes);
  for (int64_t r = 0; r < w.cols / 32; ++r) {
    U8x64 v[8];
    F::Unpack(panel.quants + r * F::kQuants, v);
    float d[16], m[16], half[2] = {1.0f, 1.0f};
    Store(d, F::Scale(panel, r));
    Store(m, F::Min(panel, r));
    if constexpr (F::kHalves) {
      float h[16];
      for (int i = 0; i < 2; ++i) {
        Store(h, ToF32(F::HalfScale(panel, r, i)));
        half[i] = h[lane];
      }
    }
    uint8_t bytes[8][64];
    for (int g = 0; g < 8; ++g) StoreU8(bytes[g], v[g]);
    for (int i = 0; i < 32; ++i) {
      const uint8_t byte = bytes[i / 4][4 * lane + i % 4];
      const int q = F::kSigned ? static_cast<int8_t>(byte) : byte - F::kOffset;
      const float value = d[lane] * half[i / 16] * static_cast<float>(q) + m[lane];
      out[32 * r + i] = value * scale;
    }
  }
}

void FloatRow(const PackedMatrix& w, int64_t row, float scale, float* out) {
  const uint8_t* panel = w.data + row / kLanes * w.panel_bytes;
  const int lane = static_cast<int>(row % kLanes);
  for (int64_t k = 0; k < w.cols; ++k) {
    float v[16];
    if (w.dtype == DType::kF32) {
      Store(v, Load(reinterpret_cast<const float*>(panel) + k * kLanes));
    } else if (w.dtype == DType::kF16) {
      Store(v, LoadF16(panel + k * 2 * kLanes));
    } else {
      F32x16 even, odd;
      LoadBf16Pairs(panel + k / 2 * 4 * kLanes, &even, &odd);
      Store(v, k % 2 ? odd : even);
    }
    out[k] = v[lane] * scale;
  }
}

}  // namespace

void Embed(const EmbedParams& p, Part part) {
  const Range rows = SplitWork(p.n, part);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const PackedMatrix& w = *p.table;
    float* out = p.out + i * w.cols;
    switch (w.dtype) {
      case DType::kQ8_0:
        QuantizedRow<FormatQ8_0>(w, p.ids[i], p.scale, out);
        break;
      case DType::kQ4_0:
        QuantizedRow<FormatQ4_0>(w, p.ids[i], p.scale, out);
        break;
      case DType::kQ4_1:
        QuantizedRow<FormatQ4_1>(w, p.ids[i], p.scale, out);
        break;
      case DType::kQ5_0:
        QuantizedRow<FormatQ5_0>(w, p.ids[i], p.scale, out);
        break;
      case DType::kQ5_1:
        QuantizedRow<FormatQ5_1>(w, p.ids[i], p.scale, out);
        break;
      case DType::kQ4_K:
        QuantizedRow<FormatQ4_K>(w, p.ids[i], p.scale, out);
        break;
      case DType::kQ5_K:
        QuantizedRow<FormatQ5_K>(w, p.ids[i], p.scale, out);
        break;
      case DType::kQ6_K:
        QuantizedRow<FormatQ6_K>(w, p.ids[i], p.scale, out);
        break;
      default:
        FloatRow(w, p.ids[i], p.scale, out);
        break;
    }
  }
}

}  // namespace slipstream::kernels::SLIP_ISA
