#include "backend/cpu/thread_pool.h"

#include <chrono>

namespace slipstream {
namespace {

constexpr int kSpinUs = 100;
constexpr int kPausesPerClockRead = 64;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or `us` have passed; returns whether done() held.
template <typename Done>
bool SpinFor(int us, Done done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (done()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  workers_.reserve(static_cast<size_t>(num_threads > 1 ? num_threads - 1 : 0));
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this, i] { WorkerLoop(i); });
}

ThreadPool::~ThreadPool() {
  if (workers_.empty()) return;
  stop_ = true;
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& t : workers_) t.join();
}

void ThreadPool::RunErased(Call call, void* arg) {
  if (workers_.empty()) {
    call(arg, {0, 1});
    return;
  }
  call_ = call;
  arg_ = arg;
  running_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  // Sequentially consistent with the worker's sleepers_ increment and re-check of epoch_: either
  // it sees the new epoch or this thread sees that it sleeps.
  epoch_.fetch_add(1);
  if (sleepers_.load() > 0) epoch_.notify_all();
  call(arg, {0, size()});
  const auto done = [this] { return running_.load(std::memory_order_acquire) == 0; };
  // A worker that lost its core may take long; then this thread must not keep it from coming back.
  while (!SpinFor(kSpinUs, done)) std::this_thread::yield();
}

uint32_t ThreadPool::AwaitEpoch(uint32_t seen) {
  const auto changed = [&] { return epoch_.load(std::memory_order_acquire) != seen; };
  if (!SpinFor(kSpinUs, changed)) {
    sleepers_.fetch_add(1);
    while (epoch_.load() == seen) epoch_.wait(seen);
    sleepers_.fetch_sub(1);
  }
  return epoch_.load(std::memory_order_acquire);
}

void ThreadPool::WorkerLoop(int index) {
  uint32_t seen = 0;
  while (true) {
    // The caller starts no new epoch before this one is finished, so none is ever missed.
    seen = AwaitEpoch(seen);
    if (stop_) return;
    call_(arg_, {index, size()});
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace slipstream
