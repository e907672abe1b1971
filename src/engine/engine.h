// Continuous batching over an Executor: the only owner of sequences, KV blocks and the schedule.
// Submit and stats may be called from any thread; everything else happens on the engine thread that
// Start creates. Every submitted request gets exactly one terminal event per choice, whatever
// happens (finish, abort, error, Stop).
#pragma once

#include <memory>

#include "base/metrics.h"
#include "base/result.h"
#include "config/engine_config.h"
#include "engine/request.h"
#include "runtime/executor.h"

namespace slipstream {

// Updated with relaxed atomics by the engine thread; read by the server's /metrics.
struct EngineMetrics {
  Gauge running_sequences, waiting_sequences;
  Gauge kv_blocks_total, kv_blocks_used, kv_blocks_reusable;
  Counter steps_total, step_errors_total;
  Counter prompt_tokens_total, generation_tokens_total;
  Counter prefix_query_tokens_total, prefix_hit_tokens_total;
  Counter preemptions_total, aborts_total;
  Gauge paced_prefill_tokens;  // that the latest step could have had beside its decodes
  Counter finished_stop_total, finished_length_total, finished_abort_total, finished_error_total;
  Histogram step_seconds{{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}};
  Histogram step_tokens{{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}};
  Histogram queue_seconds{{0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}};
  std::atomic<int64_t> last_step_us{0};  // NowUs() of the last finished step
  std::atomic<bool> has_work{false};
  std::atomic<bool> failed{false};  // the executor is lost: not ready, the process should exit
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual void Start() = 0;
  // kInvalidArgument: can never run (too long, too large for the pool). kResourceExhausted: the
  // queue is full. kUnavailable: stopping. On error no event is sent.
  virtual Status Submit(Request request) = 0;
  // Stops admission; running requests go on until `deadline_us` (NowUs clock), then get kAbort.
  // Returns when the engine thread has ended.
  virtual void Stop(int64_t deadline_us) = 0;
  virtual const EngineMetrics& metrics() const = 0;
  virtual const ExecutorInfo& info() const = 0;
  // Wakes the engine thread (after Cancel).
  virtual void Wake() = 0;
};

std::unique_ptr<Engine> MakeEngine(const EngineConfig& config, std::unique_ptr<Executor> executor);

}  // namespace slipstream
