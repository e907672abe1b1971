// How many files and connections this process may have open (ulimit -n), and how servers live with
// it: connections are turned away while some descriptors are still free, so that files of keys and
// certificates can be read. Any thread. Source: getrlimit(2), accept(2).
#pragma once

#include <cstdint>

namespace slipstream {

// Descriptors that no connection may take.
inline constexpr int64_t kFilesKeptFree = 16;

// Raises the limit to `wanted` where the system lets it; returns the one now in force.
int64_t RaiseOpenFileLimit(int64_t wanted);

// Connections that fit beside what is open now; 0 or less: none.
int64_t RoomForConnections(int64_t limit);

// A new connection's descriptor is among those that must stay free. Descriptors are given out from
// the lowest on, so a high number means that those below are in use.
bool MustStayFree(int fd);

// Tells the first event of a burst from the others, for the log. One thread.
class BurstGate {
 public:
  // True when the last event was long ago.
  bool Enter(int64_t now_us) {
    const bool first = now_us - last_us_ > kQuietUs;
    last_us_ = now_us;
    return first;
  }

 private:
  static constexpr int64_t kQuietUs = 10'000'000;
  int64_t last_us_ = -kQuietUs - 1;
};

}  // namespace slipstream
