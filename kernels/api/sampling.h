// Contract of sampling on the device: one token per row of logits, from per-slot state that lives
// in device memory, so that the next step can start before the host has seen the token. Pipeline
// and definitions are those of runtime/sampler.h: penalties -> bias -> min_tokens mask -> allowed
// mask -> temperature -> min_p -> top_k -> top_p -> draw with UniformAt(seed, num_output); ties go
// to the lowest token id. Logprobs and ranks are of the raw logits. Arguments are views owned by
// the caller. Launchers are asynchronous on the stream, do not allocate, may be captured in a
// graph; they fail with kInvalidArgument or kLaunchFailed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/api/types.h"

namespace slipstream::kernels {

constexpr int kMaxTopLogprobs = 20;     // per sampled token
constexpr int kMaxLogitBias = 1024;     // logit_bias entries per slot
constexpr int kMaxMinTokenStops = 128;  // ids masked until min_tokens, per slot

// State of one running sequence, read and advanced by SampleTokens.
struct SamplingSlot {
  uint64_t seed = 0;
  float temperature = 1.0f;  // below 1e-5: greedy
  int32_t top_k = 0;         // <= 0: off
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  int32_t num_output = 0;  // output tokens so far
  int32_t min_tokens = 0;
  int32_t num_stops = 0;
  int32_t num_bias = 0;
  int32_t has_penalties = 0;  // any penalty set: token_counts of the slot are in use
};

struct LogitBias {
  int32_t token;
  float bias;
};

// All slots, sized at start. Arrays of num_slots rows.
struct SamplingState {
  SamplingSlot* slots = nullptr;
  int32_t* last_token = nullptr;     // [num_slots]; -1 - slot in a step's token ids refers to it
  uint16_t* token_counts = nullptr;  // [num_slots, vocab_size]: bit 15 in prompt, rest: in output
  LogitBias* bias = nullptr;         // [num_slots, kMaxLogitBias]
  int32_t* stops = nullptr;          // [num_slots, kMaxMinTokenStops]
  int num_slots = 0;
  int vocab_size = 0;
};

// Loads a slot. The arrays lie in one int32 buffer at the given offsets.
struct SamplingSlotLoad {
  SamplingSlot slot;
  int32_t index = 0;  // the slot
  int32_t last_token = -1;
  int32_t prompt_begin = 0, prompt_count = 0;  // ids for token_counts; 0 without penalties
  int32_t output_begin = 0, output_count = 0;
  int32_t stops_begin = 0;  // slot.num_stops ids
  int32_t bias_begin = 0;   // slot.num_bias pairs (token, float bits)
};

struct SampleTask {
  int32_t logits_row = 0;
  int32_t slot = 0;
  int32_t target = -1;   // >= 0: report this token's logprob and advance nothing
  int32_t num_top = -1;  // -1: token only; k >= 0: logprob, rank and the k best
};

enum class SampleStatus : int32_t { kOk = 0, kNotFinite = 1 };

struct SampledTokenRecord {
  int32_t token = -1;
  SampleStatus status = SampleStatus::kOk;
  float logprob = 0;
  int32_t rank = 0;  // 1: most likely; 0 if unasked
  int32_t top_token[kMaxTopLogprobs] = {};
  float top_logprob[kMaxTopLogprobs] = {};
};

struct SampleTokensParams {
  const float* logits = nullptr;  // [rows, vocab_size] f32, not written
  int64_t logits_stride = 0;      // elements
  SamplingState state;
  const SampleTask* tasks = nullptr;  // [num_tasks], device; a slot appears at most once untargeted
  int num_tasks = 0;                  // tasks with slot < 0 are skipped (padding of a graph)
  // Bit t of word t / 32 of row i: token t may be chosen by task i. Null: no task is restricted;
  // allowed_rows[i] < 0: task i is not.
  const uint32_t* allowed = nullptr;      // [rows, allowed_stride]
  const int32_t* allowed_rows = nullptr;  // [num_tasks]
  int64_t allowed_stride = 0;             // words
  SampledTokenRecord* out = nullptr;      // [num_tasks], device or mapped host memory
  void* scratch = nullptr;                // SampleScratchBytes
};

}  // namespace slipstream::kernels
