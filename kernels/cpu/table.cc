#include "kernels/cpu/kernels.h"

#define SLIP_STRING_INNER(x) #x
#define SLIP_STRING(x) SLIP_STRING_INNER(x)

namespace slipstream::kernels::SLIP_ISA {

const CpuKernels kTable = {
    SLIP_STRING(SLIP_ISA),
    ActFormOf,
    Prepare,
    Gemm,
    Embed,
    RmsNorm,
    RopeKv,
    GatedActivation,
    SoftCap,
    AddInPlace,
    Attention,
    AttentionCombine,
};

}  // namespace slipstream::kernels::SLIP_ISA
