// A fixed set of workers that run one function at a time, all together. The caller is worker 0.
// Owned by CpuBackend; Run is called from one thread at a time. Between ops of a step workers spin,
// so that starting an op costs well under a microsecond; after about 100 microseconds without work
// they sleep, so that an idle server uses no CPU. With one thread nothing is synchronised at all.
// Fails only at construction, if the system refuses a thread (std::system_error).
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

#include "kernels/api/types.h"

namespace slipstream {

class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(Part{i, size()}) on every worker and returns when all are done. fn must not throw.
  template <typename Fn>
  void Run(Fn&& fn) {
    using Plain = std::remove_reference_t<Fn>;
    RunErased([](void* f, kernels::Part part) { (*static_cast<Plain*>(f))(part); },
              const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  using Call = void (*)(void*, kernels::Part);

  void RunErased(Call call, void* arg);
  void WorkerLoop(int index);
  // Returns the epoch that follows `seen`, spinning first and sleeping then.
  uint32_t AwaitEpoch(uint32_t seen);

  // A line each: workers read the first while the caller waits on the second.
  alignas(64) std::atomic<uint32_t> epoch_{0};
  Call call_ = nullptr;
  void* arg_ = nullptr;
  bool stop_ = false;
  alignas(64) std::atomic<int> running_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::vector<std::thread> workers_;
};

}  // namespace slipstream
