#include "backend/cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
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

// What the kernel says of each other thread of this process: 'S' and how often it was switched out.
struct ThreadState {
  char state = '?';
  long switches = 0;
  bool operator==(const ThreadState&) const = default;
};
std::map<std::string, ThreadState> OtherThreads() {
  std::map<std::string, ThreadState> out;
  const std::string own = std::to_string(gettid());
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const std::string id = task.path().filename();
    if (id == own) continue;
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("State:")) out[id].state = line[line.find_first_not_of(" \t", 6)];
      if (line.find("ctxt_switches:") != std::string::npos) {
        out[id].switches += std::stol(line.substr(line.find(':') + 1));
      }
    }
  }
  return out;
}

bool AllSleep(const std::map<std::string, ThreadState>& threads) {
  return std::all_of(threads.begin(), threads.end(),
                     [](const auto& t) { return t.second.state == 'S'; });
}

TEST(ThreadPoolTest, IdleWorkersSleepUntilTheyAreNeeded) {
  const auto before = OtherThreads();  // a sanitizer has threads of its own
  ThreadPool pool(4);
  pool.Run([](kernels::Part) {});
  const auto workers = [&] {
    auto threads = OtherThreads();
    std::erase_if(threads, [&](const auto& t) { return before.contains(t.first); });
    return threads;
  };
  const auto pause = [] { std::this_thread::sleep_for(std::chrono::milliseconds(10)); };
  // A worker that spins on never sleeps: the test's time limit ends this. Twice the same, for one
  // on its way to sleep is not switched out yet.
  auto asleep = workers();
  for (pause(); !AllSleep(asleep) || workers() != asleep; pause()) asleep = workers();
  ASSERT_EQ(asleep.size(), 3u);
  // Whoever wakes, for a look at the clock or for nothing, is switched out once more to sleep on.
  for (int i = 0; i < 5; ++i) pause();
  EXPECT_EQ(workers(), asleep);
}

TEST(ThreadPoolTest, StopsWhileAsleepOrNeverUsed) {
  { ThreadPool never_used(4); }
  ThreadPool asleep(4);
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
}

}  // namespace
}  // namespace slipstream
