// Weights, KV memory and sampler of one device rank: turns a ForwardInput into a StepOutput. Owned
// by an Executor, used on its rank's thread. Create reports what does not load or fit; an error of
// Submit or Collect is step scope: the step's tokens are lost, the runner can go on.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "config/engine_config.h"
#include "model/decoder_model.h"
#include "runtime/executor.h"
#include "runtime/hidden_pool.h"
#include "runtime/kv_cache.h"
#include "runtime/step_sampler.h"

namespace slipstream {

class ModelRunner {
 public:
  static Result<std::unique_ptr<ModelRunner>> Create(const Checkpoint& checkpoint,
                                                     const EngineConfig& engine,
                                                     const RuntimeConfig& runtime,
                                                     std::unique_ptr<Backend> backend);

  const ExecutorInfo& info() const { return info_; }
  const KvCacheShape& kv_shape() const { return kv_->shape(); }
  Backend& backend() { return *backend_; }
  std::string backend_name() const { return std::string(backend_->name()); }

  // Steps that may be submitted before the oldest is collected.
  int max_in_flight() const { return backend_->max_steps_in_flight(); }
  // The device is lost: nothing will run again.
  bool fatal() const { return backend_->fatal(); }
  // Issues a step. On the CPU that is all its work; a device goes on by itself.
  Status Submit(const ForwardInput& input);
  // The masks of the newest step, if it was submitted with masks_follow: now it samples.
  Status SupplyMasks(std::span<const uint32_t> masks);
  // Waits for the oldest step that Submit took.
  Result<StepOutput> Collect();

 private:
  ModelRunner() = default;
  // Runs steps that leave no trace, so that no request pays for what a first step costs.
  Status WarmUp();
  Status RunUnseen(int num_seqs, int queries);
  Status SampleUnseen();

  // `input` is the engine's, or comes from another machine: nothing in it may reach memory that is
  // not ours.
  Status CheckInput(const ForwardInput& input) const;
  Status CheckSequence(const ForwardInput& input, int seq) const;
  void CollectLogitRows(const ForwardInput& input);
  Status CheckMasks(std::span<const uint32_t> masks, int num_masks) const;
  Status PoolAll(std::span<const PoolRun> runs, std::vector<PooledStates>* out);
  Status SampleAll(std::span<const SampleRow> rows, std::span<const uint32_t> masks,
                   TensorView logits);

  // Destroyed last to first: everything below lives in the backend's memory.
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<DecoderModel> model_;
  std::unique_ptr<KvCache> kv_;
  std::unique_ptr<StepSampler> sampler_;
  std::unique_ptr<HiddenPool> pool_;
  ExecutorInfo info_;
  int max_logit_rows_ = 0;
  std::vector<int32_t> token_ids_;    // with device slots resolved
  std::vector<int32_t> logit_rows_;   // distinct, ascending
  std::vector<int32_t> row_index_;    // of token row -> index in logit_rows_, valid where wanted
  std::vector<int32_t> logit_index_;  // of a run of sample rows, in the logits at hand
  struct InFlight {
    uint64_t step;
    bool samples;  // else nothing waits for the device
    std::vector<PooledStates> pooled;
  };
  std::deque<InFlight> in_flight_;
  struct Unsampled {
    std::vector<SampleRow> rows;
    int num_masks;
    TensorView logits;
  };
  std::optional<Unsampled> unsampled_;  // the newest step while its masks are missing
};

}  // namespace slipstream
