// Launchers of the row and elementwise kernels around the matrix products of a step: norms, gated
// activation, soft cap, add, gather, embedding, conversion. Arguments are views owned by the
// caller, rows contiguous. Any thread; asynchronous on the stream, no allocation, may be captured
// in a graph; with dependent_launch a kernel may start while the previous one of the stream ends,
// and reads then what is constant in a step (weights, tables, ids and row numbers) before that end:
// it must have been written before any kernel that may still run, as by a copy ahead of the step.
// They fail with kInvalidArgument (missing pointer, negative size), kUnsupported (dtype or size
// without a kernel) or kLaunchFailed.
//
// "half type": kBF16 or kF16. Math is float32 and is rounded once, when stored. 16-byte aligned
// rows take 16-byte accesses, all others a scalar path. A row's result does not depend on the rest
// of the batch.
// Sources: RMS norm, arXiv 1910.07467; gated activations, arXiv 2002.05202.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/api/types.h"

namespace slipstream::kernels {

// out = x / rms(x) * weight. cols <= 32768.
struct RmsNormSm90Params {
  const void* x = nullptr;        // [rows, cols] kF32 or the dtype of out; may alias out then
  const float* weight = nullptr;  // [cols] f32, constant
  void* out = nullptr;            // [rows, cols]
  DType x_dtype = DType::kF32;
  DType out_dtype = DType::kBF16;  // half type
  int64_t rows = 0;
  int64_t cols = 0;
  float eps = 0.0f;
};
KernelStatus RmsNormSm90(const RmsNormSm90Params& p, bool dependent_launch, cudaStream_t stream);

// residual += delta; out = residual / rms(residual) * weight, of the residual as stored.
struct AddRmsNormSm90Params {
  void* residual = nullptr;       // [rows, cols] kF32 or `dtype`, in place
  const void* delta = nullptr;    // [rows, cols] `dtype`
  const float* weight = nullptr;  // [cols] f32, constant
  void* out = nullptr;            // [rows, cols] `dtype`; may alias delta
  DType residual_dtype = DType::kF32;
  DType dtype = DType::kBF16;  // half type
  int64_t rows = 0;
  int64_t cols = 0;
  float eps = 0.0f;
};
KernelStatus AddRmsNormSm90(const AddRmsNormSm90Params& p, bool dependent_launch,
                            cudaStream_t stream);

struct GatedActivationSm90Params {
  const void* gate_up = nullptr;  // [rows, 2 * cols] `dtype`: gate, then up
  void* out = nullptr;            // [rows, cols] `dtype`
  DType dtype = DType::kBF16;     // half type
  int64_t rows = 0;
  int64_t cols = 0;
  bool gelu_tanh = false;  // else SiLU
  // By eights, as a product with weights for GemmEpilogueKind::kGated leaves them: eight gates,
  // their eight ups, the next eight gates. cols not a multiple of 8: kUnsupported.
  bool interleaved = false;
};
KernelStatus GatedActivationSm90(const GatedActivationSm90Params& p, bool dependent_launch,
                                 cudaStream_t stream);
// x = cap * tanh(x / cap) on f32. REQUIRES: cap > 0.
KernelStatus SoftCapSm90(float* x, int64_t elems, float cap, bool dependent_launch,
                         cudaStream_t stream);

// x += y. x is kF32 or `y_dtype`; y is a half type.
KernelStatus AddSm90(void* x, DType x_dtype, const void* y, DType y_dtype, int64_t elems,
                     bool dependent_launch, cudaStream_t stream);

// out = in, between kF32 and a half type in either direction.
KernelStatus ConvertSm90(const void* in, DType in_dtype, void* out, DType out_dtype, int64_t elems,
                         bool dependent_launch, cudaStream_t stream);

// out[i] = x[rows[i]]; a row outside [0, num_source_rows) gives zeros.
struct GatherRowsSm90Params {
  const void* x = nullptr;        // [num_source_rows, row_bytes], 16-byte aligned
  const int32_t* rows = nullptr;  // [num_rows], device
  void* out = nullptr;            // [num_rows, row_bytes], 16-byte aligned; must not overlap x
  int64_t num_source_rows = 0;
  int64_t num_rows = 0;
  int64_t row_bytes = 0;  // multiple of 16
};
KernelStatus GatherRowsSm90(const GatherRowsSm90Params& p, bool dependent_launch,
                            cudaStream_t stream);

// out[i] = table[ids[i]] * scale. An id -1 - slot stands for last_token[slot]. Whatever then is
// outside the vocabulary gives zeros; nothing outside the arrays is read.
struct EmbedSm90Params {
  const void* table = nullptr;          // [vocab_size, hidden]
  const int32_t* ids = nullptr;         // [num_ids], device
  const int32_t* last_token = nullptr;  // [num_slots], device; null: negative ids give zeros
  void* out = nullptr;                  // [num_ids, hidden]
  DType table_dtype = DType::kBF16;     // kF32 or half type
  DType out_dtype = DType::kF32;        // kF32 or half type
  int64_t num_ids = 0;
  int64_t vocab_size = 0;
  int64_t hidden = 0;
  int num_slots = 0;
  float scale = 1.0f;
};
KernelStatus EmbedSm90(const EmbedSm90Params& p, bool dependent_launch, cudaStream_t stream);

}  // namespace slipstream::kernels
