// The CPU kernels of one instruction set as a table. Tables are const and live for ever; any
// thread. The best set of this machine is chosen at start; SLIPSTREAM_ISA=portable|avx2|avx512|amx,
// on AArch64 portable|neon|neon_dot, narrows the choice (a level the machine lacks is ignored).
#pragma once

#include <cstdint>

#include "kernels/api/activation.h"
#include "kernels/api/cpu_attention.h"
#include "kernels/api/embedding.h"
#include "kernels/api/gemm.h"
#include "kernels/api/norm.h"
#include "kernels/api/rope.h"
#include "kernels/api/types.h"

namespace slipstream::kernels {

enum class Isa : uint8_t {
  kPortable,  // the compiler's baseline for the target
  kAvx2,      // AVX2, FMA, F16C
  kAvx512,    // AVX-512 F, BW, DQ, VL, VNNI
  kAmx,       // kAvx512 and AVX512_BF16, AMX int8 and bf16
  kNeon,      // AArch64
  kNeonDot,   // kNeon and the dot products of Armv8.2
};

struct CpuKernels {
  const char* name;
  ActForm (*act_form)(DType weight);
  // Fills the buffers of `rows` for this worker's share of the rows.
  void (*prepare)(const PreparedRows& rows, Part part);
  void (*gemm)(const GemmParams& p, Part part);
  void (*embed)(const EmbedParams& p, Part part);
  void (*rms_norm)(const RmsNormParams& p, Part part);
  void (*rope_kv)(const RopeKvParams& p, Part part);
  void (*gated_activation)(const GatedActivationParams& p, Part part);
  void (*soft_cap)(const SoftCapParams& p, Part part);
  void (*add)(const AddParams& p, Part part);
  void (*attention)(const CpuAttentionParams& p, Part part);
  void (*attention_combine)(const CpuAttentionParams& p, Part part);
};

// The kernels of `isa`, or null if this machine or build lacks it.
const CpuKernels* KernelsFor(Isa isa);
// The widest level available that SLIPSTREAM_ISA allows.
const CpuKernels& BestKernels();

}  // namespace slipstream::kernels
