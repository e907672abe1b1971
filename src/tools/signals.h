// Stop signals as something a thread waits for instead of a handler.
// Owner: the command that runs. Thread: made on the main thread before any other starts.
#pragma once

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <thread>

namespace slipstream {

// Blocks SIGINT and SIGTERM in this and every later thread; sigwait on the set receives them. Call
// before any thread starts.
inline sigset_t BlockStopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

// While it lives, a stop signal ends the process at once. Loading a model and waiting for a worker
// take up to a minute with the signals blocked, and there is nothing to drain yet.
class QuitOnStopSignal {
 public:
  explicit QuitOnStopSignal(const sigset_t& signals)
      : thread_([this, signals] {
          const timespec tick{0, 50'000'000};
          while (!done_) {
            const int signal = sigtimedwait(&signals, nullptr, &tick);
            if (signal > 0) _exit(128 + signal);
          }
        }) {}
  ~QuitOnStopSignal() {
    done_ = true;
    thread_.join();
  }
  QuitOnStopSignal(const QuitOnStopSignal&) = delete;
  QuitOnStopSignal& operator=(const QuitOnStopSignal&) = delete;

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// Ends the process when it still lives after `seconds`: a step that never returns (a worker that
// hangs) must not hold a server past the grace it was given.
class ExitDeadline {
 public:
  explicit ExitDeadline(double seconds)
      : thread_([this, seconds] {
          std::unique_lock lock(mutex_);
          if (wake_.wait_for(lock, std::chrono::duration<double>(seconds),
                             [this] { return done_; })) {
            return;
          }
          std::fprintf(stderr, "error: a step does not end; giving up on it\n");
          _exit(1);
        }) {}
  ~ExitDeadline() {
    {
      std::lock_guard lock(mutex_);
      done_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  ExitDeadline(const ExitDeadline&) = delete;
  ExitDeadline& operator=(const ExitDeadline&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace slipstream
