#include "base/fork_join.h"

#include <algorithm>

namespace slipstream {

ForkJoin::ForkJoin(int num_helpers) {
  for (int i = 0; i < num_helpers; ++i) helpers_.emplace_back([this] { Help(); });
}

ForkJoin::~ForkJoin() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  begun_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ForkJoin::Run(int count, const std::function<void(int)>& work) {
  const int wanted = std::min(count - 1, static_cast<int>(helpers_.size()));
  {
    const std::lock_guard lock(mutex_);
    next_ = 0;
    if (wanted > 0) work_ = &work;
    count_ = count;
  }
  for (int i = 0; i < wanted; ++i) begun_.notify_one();
  Take(count, work);
  if (wanted <= 0) return;
  std::unique_lock lock(mutex_);
  work_ = nullptr;  // who wakes only now goes back to sleep
  ended_.wait(lock, [this] { return helping_ == 0; });
}

void ForkJoin::Take(int count, const std::function<void(int)>& work) {
  for (int i = next_.fetch_add(1); i < count; i = next_.fetch_add(1)) work(i);
}

void ForkJoin::Help() {
  std::unique_lock lock(mutex_);
  while (true) {
    begun_.wait(lock, [this] { return stop_ || (work_ != nullptr && next_ < count_); });
    if (stop_) return;
    const auto* work = work_;
    const int count = count_;
    ++helping_;
    lock.unlock();
    Take(count, *work);
    lock.lock();
    if (--helping_ == 0) ended_.notify_one();
  }
}

}  // namespace slipstream
