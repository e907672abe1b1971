// Launcher of the KV write kernel; contract in kernels/api/kv_write.h. bf16 or fp16 rows into a
// bf16, fp16 or e4m3 cache of either layout; head_dim a multiple of 32 up to 256. With
// dependent_launch the kernel may start while the previous one of the stream ends.
// REQUIRES, with dependent_launch: slot_ids, positions, cos, sin and the norm weights were written
// before any kernel that may still run, as by a copy ahead of the step: they are read early.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/api/kv_write.h"

namespace slipstream::kernels {

KernelStatus KvWrite(const KvWriteParams& p, bool dependent_launch, cudaStream_t stream);

}  // namespace slipstream::kernels
