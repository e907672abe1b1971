// The weights of a decoder, prepared by a backend: what LoadDecoderWeights reads from a checkpoint
// under the names of an ArchSpec. Owned by a DecoderModel; const after the load. Errors name file,
// tensor and both shapes.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "loader/checkpoint.h"
#include "model/arch_spec.h"

namespace slipstream {

// A float32 vector in the backend's memory; null when the family has none.
class NormWeight {
 public:
  NormWeight() = default;
  explicit NormWeight(std::unique_ptr<Buffer> memory) : memory_(std::move(memory)) {}
  const float* data() const {
    return memory_ ? static_cast<const float*>(memory_->data()) : nullptr;
  }

 private:
  std::unique_ptr<Buffer> memory_;
};

struct LayerWeights {
  NormWeight attn_norm, post_attn_norm, ffn_norm, post_ffn_norm, q_norm, k_norm;
  std::unique_ptr<Linear> qkv;      // [(num_heads + 2 num_kv_heads) head_dim, hidden]
  std::unique_ptr<Linear> o;        // [hidden, num_heads head_dim]
  std::unique_ptr<Linear> gate_up;  // [2 intermediate, hidden]
  std::unique_ptr<Linear> down;     // [hidden, intermediate]
};

struct DecoderWeights {
  std::unique_ptr<EmbeddingTable> embedding;
  std::vector<LayerWeights> layers;
  NormWeight final_norm;
  std::unique_ptr<Linear> lm_head;  // [vocab, hidden]
  DType embedding_dtype = DType::kF32;
};

Result<DecoderWeights> LoadDecoderWeights(const Checkpoint& checkpoint, const ArchSpec& spec,
                                          Backend& backend);

}  // namespace slipstream
