// Stop signals as something a thread waits for instead of a handler.
#pragma once

#include <pthread.h>

#include <csignal>

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

}  // namespace slipstream
