// The kernels of one instruction set, as declared inside its namespace; table.cc lists them.
#pragma once

#include "kernels/api/cpu_kernels.h"
#include "kernels/cpu/simd.h"

namespace slipstream::kernels::SLIP_ISA {

ActForm ActFormOf(DType weight);
void Prepare(const PreparedRows& rows, Part part);
void Gemm(const GemmParams& p, Part part);
void Embed(const EmbedParams& p, Part part);
void RmsNorm(const RmsNormParams& p, Part part);
void RopeKv(const RopeKvParams& p, Part part);
void GatedActivation(const GatedActivationParams& p, Part part);
void SoftCap(const SoftCapParams& p, Part part);
void AddInPlace(const AddParams& p, Part part);
void Attention(const CpuAttentionParams& p, Part part);
void AttentionCombine(const CpuAttentionParams& p, Part part);

// Parts of Gemm by weight type: panels [begin, end) for all rows of p.x. `scratch` is the worker's,
// of GemmScratchBytes.
void GemmInt8(const GemmParams& p, Range panels, uint8_t* scratch);
void GemmFloat(const GemmParams& p, Range panels);
#ifdef __AMX_INT8__
// Tile registers must be set up before, and released after, the products of one form.
void BeginTiles(const GemmParams& p);
void EndTiles();
// Whole tiles of rows against one panel; returns the first row not done.
int64_t GemmInt8Tiles(const GemmParams& p, int64_t panel, uint8_t* scratch);
void GemmBf16Tiles(const GemmParams& p, Range panels);
#endif

extern const CpuKernels kTable;

}  // namespace slipstream::kernels::SLIP_ISA
