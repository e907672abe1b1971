// A decoder-only transformer run on a Backend: weights prepared for it, described by an ArchSpec,
// executed op by op. Owned by one ModelRunner, used on its thread. Load errors name the tensor.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "loader/checkpoint.h"

namespace slipstream {

// The flat arrays of one step that the model reads; host memory, valid until Forward returns.
struct ModelInput {
  std::span<const int32_t> token_ids;   // [num_tokens]; negative: the backend's DeviceSampler's
  AttentionBatch batch;                 // sequences, positions, slots, block tables
  std::span<const int32_t> logit_rows;  // rows of token_ids whose logits are wanted; ascending
  // Rather their hidden states are: Forward may leave the logits to calls of Logits.
  bool hidden_wanted = false;
};

class DecoderModel {
 public:
  virtual ~DecoderModel() = default;
  virtual const ModelConfig& config() const = 0;
  // Bytes of K plus V per token over all layers in `kv_dtype`.
  virtual int64_t kv_bytes_per_token(DType kv_dtype) const = 0;
  // Sizes activations and what the backend needs for a step; once, at start.
  virtual Status Reserve(const StepLimits& limits) = 0;
  // Issues the step and returns the logits of the first min(logit_rows.size(), max_logit_rows)
  // rows, or of none if hidden_wanted: [rows, vocab_size] f32 in backend memory, valid until the
  // next Forward or Logits. A backend may round the number of rows up. `kv` has one view per layer.
  virtual Result<TensorView> Forward(const ModelInput& input, std::span<const KvLayerView> kv) = 0;
  // What logits are computed from: the states of logit_rows after the final norm, [rows,
  // hidden_size] in the backend's activation type, valid until the next Forward. A backend may
  // round the number of rows up.
  virtual TensorView hidden() const = 0;
  // Logits of logit_rows[begin, begin + count) of the last Forward; count <= max_logit_rows.
  // Scoring a long prompt asks for them piece by piece instead of holding them all.
  virtual Result<TensorView> Logits(int64_t begin, int64_t count) = 0;
};

// Builds the model that `checkpoint.config().architecture` names. `backend` must outlive it;
// `checkpoint` is read during the call only, except where the backend computes on mapped weights.
Result<std::unique_ptr<DecoderModel>> BuildModel(const Checkpoint& checkpoint, Backend& backend);

}  // namespace slipstream
