// Runs a DecoderModel over paged KV memory the hard way: scrambled block tables, every block filled
// with NaN beforehand, any cut of sequences into steps. For tests alone; a failed step is a test
// failure.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "loader/checkpoint.h"
#include "model/decoder_model.h"

namespace slipstream::testing {

// One of tests/fixtures/models: the checkpoint and what transformers computes from it.
struct GoldenFixture {
  std::unique_ptr<Checkpoint> checkpoint;
  std::vector<int32_t> token_ids;
  std::vector<float> logits;  // [token_ids.size(), vocab_size]
  std::vector<float> inv_freq, local_inv_freq;
  float attention_scaling = 1.0f;
};

std::string FixturePath(const std::string& name);
GoldenFixture LoadFixture(const std::string& name);

// A sequence and the lengths of its successive query chunks; they sum to token_ids.size().
struct ScheduledSequence {
  std::vector<int32_t> token_ids;
  std::vector<int> chunks;
};

// The smallest block a backend's attention has.
int BlockSizeFor(const Backend& backend);
// Limits for RunSchedule over sequences of up to `max_tokens` tokens, up to 16 of them.
StepLimits LimitsFor(const Backend& backend, int max_tokens);

// `total` tokens in chunks that repeat `pattern`, the last one cut short.
std::vector<int> RepeatChunks(int total, const std::vector<int>& pattern);

// Runs all sequences side by side, the n-th chunk of each in the n-th step. Returns per sequence
// the logits of all its tokens [num_tokens, vocab_size]; of its last token if `last_only`.
std::vector<std::vector<float>> RunSchedule(DecoderModel& model, Backend& backend,
                                            const std::vector<ScheduledSequence>& sequences,
                                            bool last_only = false, DType kv_dtype = DType::kF32);

}  // namespace slipstream::testing
