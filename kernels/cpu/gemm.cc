// Chooses the product by weight type and splits panels over workers.
#include "kernels/cpu/kernels.h"

namespace slipstream::kernels::SLIP_ISA {

ActForm ActFormOf(DType weight) {
  switch (weight) {
    case DType::kF32:
    case DType::kF16:
      return ActForm::kF32;
    case DType::kBF16:
#ifdef __AMX_BF16__
      return ActForm::kBf16;
#else
      return ActForm::kF32;
#endif
    default:
      return ActForm::kInt8;
  }
}

void Gemm(const GemmParams& p, Part part) {
  const Range panels = SplitWork(p.w->panels, part);
  if (panels.begin == panels.end) return;
  uint8_t* scratch =
      static_cast<uint8_t*>(p.scratch) + part.index * static_cast<int64_t>(GemmScratchBytes(*p.w));
#ifdef __AMX_INT8__
  if (p.x.form != ActForm::kF32) BeginTiles(p);
#endif
  if (p.x.form == ActForm::kInt8) {
    GemmInt8(p, panels, scratch);
  } else if (p.x.form == ActForm::kF32) {
    GemmFloat(p, panels);
  }
#ifdef __AMX_BF16__
  if (p.x.form == ActForm::kBf16) GemmBf16Tiles(p, panels);
  if (p.x.form != ActForm::kF32) EndTiles();
#endif
}

}  // namespace slipstream::kernels::SLIP_ISA
