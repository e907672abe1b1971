// Launchers of sampling on the device; contract in kernels/api/sampling.h. Two kernels: the first
// reads every row once, split over as many CTAs as it has tiles, and leaves maxima and sums; the
// second, one CTA a row, chooses the token from them, looks again only at the parts of the row that
// can matter, and advances the slot. A row's result does not depend on what shares its batch.
// vocab_size up to 2^20.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/api/sampling.h"

namespace slipstream::kernels {

// Of SampleTokensParams::scratch, 16-byte aligned; needs no initialisation.
size_t SampleScratchBytes(int max_tasks, int vocab_size);

// `loads` and `ids` are device memory. No slot may be loaded twice in one call.
KernelStatus LoadSamplingSlots(const SamplingSlotLoad* loads, const int32_t* ids, int num_loads,
                               const SamplingState& state, cudaStream_t stream);

// A record's fields beyond those its task asks for are left as they are, except that logprob and
// rank are 0 when unasked. After kNotFinite token is -1 and the slot has not advanced. A target
// outside the vocabulary gives kNotFinite.
KernelStatus SampleTokens(const SampleTokensParams& p, bool dependent_launch, cudaStream_t stream);

}  // namespace slipstream::kernels
