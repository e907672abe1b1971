// Cosines and sines of rotary position embeddings in a backend's memory, as long as the longest
// position asked for so far. Owned by a DecoderModel, used on its thread. Growing can fail for
// want of memory. Equal to Hugging Face modeling_rope_utils (default, linear, llama3, yarn) in
// float32, including its rounding of position * frequency; YaRN is arXiv 2309.00071.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "config/model_config.h"

namespace slipstream {

struct RopeFrequencies {
  std::vector<float> inv_freq;     // [rotary_dim / 2], radians per position
  float attention_scaling = 1.0f;  // multiplies cos and sin
};

// Errors name the setting at fault.
Result<RopeFrequencies> ComputeRopeFrequencies(const RopeConfig& rope, int64_t rotary_dim,
                                               int64_t max_position_embeddings);

class RopeCache {
 public:
  RopeCache(RopeFrequencies frequencies, RopeLayout layout)
      : frequencies_(std::move(frequencies)), layout_(layout) {}

  // Makes table() cover positions [0, num_positions). REQUIRES: no op that reads the old table is
  // still running when it grows.
  Status Cover(int64_t num_positions, Backend& backend);
  const RopeTable& table() const { return table_; }

 private:
  RopeFrequencies frequencies_;
  RopeLayout layout_;
  std::unique_ptr<Buffer> memory_;
  RopeTable table_;
};

}  // namespace slipstream
