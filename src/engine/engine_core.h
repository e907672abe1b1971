// The engine without its thread: groups, schedule and steps in flight over one Executor. Step does
// one round; whoever owns the core calls it from one thread and adds requests between rounds. Queue
// places may be taken and returned from any thread. A step error ends the sequences of the failed
// step; when fatal() is true afterwards, the owner calls FailAll.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/fork_join.h"
#include "base/result.h"
#include "config/engine_config.h"
#include "engine/batch.h"
#include "engine/batch_builder.h"
#include "engine/block_pool.h"
#include "engine/engine.h"
#include "engine/prefix_cache.h"
#include "engine/scheduler.h"
#include "engine/step_pacer.h"
#include "runtime/executor.h"

namespace slipstream {

class EngineCore {
 public:
  using Clock = int64_t (*)();

  EngineCore(const EngineConfig& config, std::unique_ptr<Executor> executor, Clock clock = NowUs);
  ~EngineCore();
  EngineCore(const EngineCore&) = delete;
  EngineCore& operator=(const EngineCore&) = delete;

  // Limits after configuration and pool size are taken into account.
  const ExecutorInfo& info() const { return info_; }
  EngineMetrics& metrics() { return metrics_; }
  const EngineMetrics& metrics() const { return metrics_; }

  // Takes a place in the bounded queue; false when it is full. Any thread. The place is given back
  // when the request is admitted or ends.
  [[nodiscard]] bool ReservePlace();
  void ReturnPlace() { num_queued_.fetch_sub(1, std::memory_order_relaxed); }

  // REQUIRES: ValidateRequest accepted it and ReservePlace succeeded.
  void Add(Request request, int64_t submit_us);

  // Cancels and deadlines, then schedules and submits, then collects when the pipeline is full or
  // nothing could be submitted. Events of the round are delivered before it returns.
  void Step();

  // Between rounds without work: notices an executor that is lost before a request does.
  void CheckIdle();

  bool has_work() const { return !groups_.empty(); }
  bool fatal() const { return fatal_; }
  const Error& fatal_error() const { return fatal_error_; }

  void AbortAll();
  // Ends every request and forgets the steps in flight: for an executor that is lost.
  void FailAll(const Error& error);

  // The invariants of docs/scheduling.md; the error names the one that is broken.
  Status CheckInvariants() const;
  const BlockPool& pool() const { return pool_; }

 private:
  struct InFlight {
    Batch batch;
    int64_t submit_us = 0;
    size_t num_rows = 0, num_pool_runs = 0;
    bool masks_follow = false;  // it waits for its masks before it samples
    bool constrained = false;   // it samples for sequences with a constraint
  };
  // A sequence whose next mask is to be filled.
  struct Followed {
    static constexpr int32_t kNoToken = -1;
    Sequence* seq;
    int32_t token;  // that its constraint takes first
    Status status = {};
    bool over = false;  // nothing may follow
  };

  void CheckCancels();
  void CancelChoices(SequenceGroup* group, uint64_t choices);
  bool SubmitStep();
  void CollectStep();
  void Apply(const Batch& batch, StepOutput* output);
  void FailBatch(const Batch& batch, const Error& error);
  void Append(Sequence* seq, SampledToken token);
  void TrackSpan(Sequence* seq, int32_t token);
  void AppendForced(Sequence* seq);
  void StartConstraints(SequenceGroup* group);
  void FollowConstraint(Sequence* seq, int32_t token);
  void FollowForced(Sequence* seq);
  static void FillMask(Followed* followed);
  void FillMasks();
  void CollectForMasks();
  void SupplyMasks();
  void Finish(Sequence* seq, FinishReason reason, const Error* error = nullptr);
  void AbortGroup(SequenceGroup* group);
  TokenEvent* NewEvent(Sequence* seq);
  void CountFinish(FinishReason reason);
  void Deliver();
  void UpdateMetrics();
  void ReleaseInFlight(const Batch& batch);
  void PaceBy(const Batch& batch, double us);
  void LeaveQueue(SequenceGroup* group);
  Status CheckSequence(const Sequence& seq, std::vector<int32_t>* refs) const;

  const EngineConfig config_;
  const std::unique_ptr<Executor> executor_;
  const Clock clock_;
  ExecutorInfo info_;
  EngineMetrics metrics_;
  BlockPool pool_;
  PrefixCache cache_;
  Scheduler scheduler_;
  BatchBuilder builder_;
  StepPacer pacer_;

  std::vector<std::unique_ptr<SequenceGroup>> groups_;
  std::vector<SequenceGroup*> touched_;     // groups with events of this round
  std::vector<Followed> followed_;          // empty between rounds
  std::unique_ptr<ForkJoin> mask_helpers_;  // from the first two masks at once on
  bool any_done_ = false;                   // a group may be ready to be deleted
  std::deque<InFlight> in_flight_;          // oldest first
  std::vector<Batch> spare_batches_;        // their vectors are reused
  uint64_t next_arrival_ = 0;
  uint64_t next_step_ = 0;
  int64_t last_collect_us_ = 0;
  bool fatal_ = false;
  Error fatal_error_;
  std::atomic<int> num_queued_{0};
};

}  // namespace slipstream
