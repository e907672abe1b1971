// Runs steps on devices. Owned by the Engine and called on its thread: Submit queues a step,
// Collect waits for the oldest one. At most max_in_flight() steps may be submitted and not
// collected, and none after one whose masks are missing. An error from either is step scope: the
// step's tokens are lost, the executor lives. An error with `fatal()` true is process scope.
#pragma once

#include "base/result.h"
#include "runtime/forward_input.h"

namespace slipstream {

// What the engine must know of the model and memory behind the executor.
struct ExecutorInfo {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;    // of a pooled state; 0: steps with pool_runs are not supported
  int64_t max_model_len = 0;  // tokens
  int64_t num_blocks = 0;     // KV blocks in the pool
  int block_size_tokens = 16;
  int max_num_seqs = 0;  // sampler slots
  int max_batch_tokens = 0;
  int token_tile = 1;  // steps of many tokens cost what the next multiple of it costs
  std::vector<int32_t> eos_token_ids;
};

class Executor {
 public:
  virtual ~Executor() = default;
  virtual const ExecutorInfo& info() const = 0;
  virtual int max_in_flight() const { return 1; }
  virtual Status Submit(ForwardInput input) = 0;
  virtual Result<StepOutput> Collect() = 0;
  // Whether steps may come with masks_follow: they compute, and wait to sample until the masks,
  // which depend on the tokens of the step before them, are there.
  virtual bool takes_late_masks() const { return false; }
  // The masks of the newest step. REQUIRES: it has masks_follow, and every step before it is
  // collected. What goes wrong comes with its Collect.
  virtual void SupplyMasks(std::vector<uint32_t> masks) {}
  virtual bool fatal() const { return false; }
  // Looks, without waiting, whether what runs the steps is still there; an error makes it fatal.
  // REQUIRES: no step is in flight. The engine asks about once a second while it has no work.
  virtual Status CheckIdle() { return {}; }
};

}  // namespace slipstream
