// A few threads that help the caller with a loop of independent items of some microseconds or more
// each. They sleep between loops. Owned by whoever calls Run, which is one thread at a time. Fails
// only at construction, if the system refuses a thread (std::system_error).
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace slipstream {

class ForkJoin {
 public:
  // 0 helpers: the caller does everything.
  explicit ForkJoin(int num_helpers);
  ~ForkJoin();
  ForkJoin(const ForkJoin&) = delete;
  ForkJoin& operator=(const ForkJoin&) = delete;

  // Calls work(i) once for every i in [0, count), on this thread and the helpers, in any order, and
  // returns when all calls have. `work` must not throw.
  void Run(int count, const std::function<void(int)>& work);

 private:
  void Help();
  void Take(int count, const std::function<void(int)>& work);

  std::mutex mutex_;
  std::condition_variable begun_, ended_;
  // Guarded by mutex_. A loop that nobody may join any more has no work_.
  const std::function<void(int)>* work_ = nullptr;
  int count_ = 0;
  int helping_ = 0;
  bool stop_ = false;
  std::atomic<int> next_{0};
  std::vector<std::thread> helpers_;
};

}  // namespace slipstream
