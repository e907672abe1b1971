// The engine thread around EngineCore: ingress queue, sleep when idle, stop, executor loss.
#include "engine/engine.h"

#include <fmt/core.h>

#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_core.h"
#include "engine/engine_limits.h"

namespace slipstream {
namespace {

struct Ingress {
  Request request;
  int64_t submit_us = 0;
};

class ThreadedEngine : public Engine {
 public:
  ThreadedEngine(const EngineConfig& config, std::unique_ptr<Executor> executor)
      : core_(config, std::move(executor)), queue_(config.max_queued_requests) {}

  ~ThreadedEngine() override { Stop(NowUs()); }

  void Start() override {
    std::lock_guard lock(lifecycle_);
    if (!thread_.joinable() && !stopping()) thread_ = std::thread([this] { Run(); });
  }

  Status Submit(Request request) override {
    if (stopping()) return RefuseStopped();
    SLIP_RETURN_IF_ERROR(ValidateRequest(request, core_.info()));
    if (!core_.ReservePlace()) return RefuseFull();
    if (!queue_.TryPush({std::move(request), NowUs()})) {
      core_.ReturnPlace();
      return stopping() ? RefuseStopped() : RefuseFull();
    }
    ingress_ready_.store(true, std::memory_order_release);
    return {};
  }

  void Stop(int64_t deadline_us) override {
    std::lock_guard lock(lifecycle_);
    deadline_us_.store(deadline_us, std::memory_order_relaxed);
    stopping_.store(true, std::memory_order_release);
    queue_.Close();  // also wakes the thread
    if (thread_.joinable()) {
      thread_.join();
    } else {
      // Never started, or stopped before: requests queued without a thread still get their answer.
      Drain();
      core_.AbortAll();
    }
  }

  const EngineMetrics& metrics() const override { return core_.metrics(); }
  const ExecutorInfo& info() const override { return core_.info(); }
  void Wake() override { queue_.Wake(); }

 private:
  bool stopping() const { return stopping_.load(std::memory_order_acquire); }

  Status RefuseStopped() const {
    return Fail(ErrorCode::kUnavailable, core_.metrics().failed.load(std::memory_order_acquire)
                                             ? "the engine has failed and takes no requests"
                                             : "the engine is stopping");
  }

  static Status RefuseFull() {
    return Fail(ErrorCode::kResourceExhausted, "the request queue is full, try again later");
  }

  void Run() {
    Error failure{ErrorCode::kInternal, "the engine thread has failed", {}};
    try {
      if (Loop()) return;
      failure = core_.fatal_error();
    } catch (const std::exception& e) {
      failure.message = fmt::format("the engine thread has failed: {}", e.what());
    }
    Die(failure);
  }

  // Returns true after a regular stop, false when the executor is lost.
  bool Loop() {
    for (;;) {
      if (ingress_ready_.exchange(false, std::memory_order_acq_rel)) Drain();
      if (!core_.has_work()) {
        if (stopping()) {
          Drain();  // what was pushed before the queue closed
          if (!core_.has_work()) return true;
          continue;
        }
        queue_.WaitFor(kIdleSleep);
        ingress_ready_.store(true, std::memory_order_relaxed);
        core_.CheckIdle();
        if (core_.fatal()) return false;
        continue;
      }
      if (stopping() && NowUs() >= deadline_us_.load(std::memory_order_relaxed)) {
        Drain();
        core_.AbortAll();
      }
      core_.Step();
      if (core_.fatal()) return false;
    }
  }

  void Drain() {
    drained_.clear();
    queue_.DrainTo(&drained_);
    for (Ingress& in : drained_) core_.Add(std::move(in.request), in.submit_us);
  }

  // Every waiter gets an error; readiness is derived from metrics().failed.
  void Die(const Error& error) {
    LogError("the engine stops: {}", error.message);
    core_.metrics().failed.store(true, std::memory_order_release);
    stopping_.store(true, std::memory_order_release);
    queue_.Close();
    Drain();
    core_.FailAll(error);
  }

  // Every submit, wake and stop ends the sleep; without any the executor is looked after.
  static constexpr std::chrono::seconds kIdleSleep{1};

  EngineCore core_;
  BoundedQueue<Ingress> queue_;
  std::vector<Ingress> drained_;
  std::atomic<bool> ingress_ready_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> deadline_us_{0};
  std::mutex lifecycle_;  // Start and Stop
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Engine> MakeEngine(const EngineConfig& config, std::unique_ptr<Executor> executor) {
  return std::make_unique<ThreadedEngine>(config, std::move(executor));
}

}  // namespace slipstream
