// Bounded multi-producer single-consumer queue. Full means TryPush returns false, never a wait.
// Pop side belongs to one thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

namespace slipstream {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  // Moves from `item` only on success. False when full or closed.
  [[nodiscard]] bool TryPush(T&& item) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || items_.size() >= capacity_) return false;
      items_.push_back(std::move(item));
    }
    wake_.notify_one();
    return true;
  }

  // Appends everything queued to `out`; returns how many.
  size_t DrainTo(std::vector<T>* out) {
    std::lock_guard lock(mutex_);
    const size_t n = items_.size();
    for (T& item : items_) out->push_back(std::move(item));
    items_.clear();
    return n;
  }

  // Sleeps until an item is queued, Wake() or Close() is called, or `timeout` passes.
  void WaitFor(std::chrono::microseconds timeout) {
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, timeout, [&] { return !items_.empty() || closed_ || woken_; });
    woken_ = false;
  }

  void Wake() {
    {
      std::lock_guard lock(mutex_);
      woken_ = true;
    }
    wake_.notify_one();
  }

  // No push succeeds from now on; what is queued can still be drained.
  void Close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    wake_.notify_one();
  }

  size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<T> items_;
  bool closed_ = false;
  bool woken_ = false;
};

}  // namespace slipstream
