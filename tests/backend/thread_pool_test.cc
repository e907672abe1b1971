#include "backend/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

namespace slipstream {
namespace {

TEST(ThreadPoolTest, EveryWorkerRunsOnceAndItsWritesAreSeen) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    std::vector<int> counts(static_cast<size_t>(threads), 0);
    for (int round = 1; round <= 300; ++round) {
      pool.Run([&](kernels::Part part) {
        EXPECT_EQ(part.count, threads);
        ++counts[static_cast<size_t>(part.index)];
      });
      for (const int n : counts) ASSERT_EQ(n, round);
    }
  }
}

TEST(ThreadPoolTest, WorkersWakeFromSleep) {
  ThreadPool pool(3);
  int sum[3] = {};
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // longer than they spin
    pool.Run([&](kernels::Part part) { ++sum[part.index]; });
  }
  for (const int n : sum) EXPECT_EQ(n, 5);
}

TEST(ThreadPoolTest, IdleWorkersUseNoProcessorTime) {
  ThreadPool pool(4);
  pool.Run([](kernels::Part) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  // Three spinning workers would use up to 600 ms.
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 10);
}

TEST(ThreadPoolTest, StopsWhileAsleepOrNeverUsed) {
  { ThreadPool never_used(4); }
  ThreadPool asleep(4);
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
}

}  // namespace
}  // namespace slipstream
