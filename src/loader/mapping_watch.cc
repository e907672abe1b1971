#include "loader/mapping_watch.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string_view>

namespace slipstream {
namespace {

struct Slot {
  std::atomic<uintptr_t> begin{0};  // 0: free; set last, so that the handler sees the rest
  std::atomic<uintptr_t> end{0};
  std::array<char, 512> path{};
};

constexpr size_t kMaxMappings = 1024;
std::array<Slot, kMaxMappings> slots;
std::mutex mutex;

void Say(std::string_view text) {
  // Nothing can be done about a standard error that does not take it.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
}

void OnBusError(int signal, siginfo_t* info, void*) {
  const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Slot& slot : slots) {
    const uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    if (begin == 0 || at < begin || at >= slot.end.load(std::memory_order_relaxed)) continue;
    Say("error: ");
    Say({slot.path.data(), strnlen(slot.path.data(), slot.path.size())});
    Say(": cannot be read where it could be before; was it changed or cut off meanwhile?\n");
    _exit(1);
  }
  std::signal(signal, SIG_DFL);  // the access is done again, and ends the process
}

void Install() {
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

void WatchMapping(const void* data, size_t size, const std::string& path) {
  static std::once_flag once;
  std::call_once(once, Install);
  std::lock_guard lock(mutex);
  for (Slot& slot : slots) {
    if (slot.begin.load(std::memory_order_relaxed) != 0) continue;
    slot.path.fill('\0');
    path.copy(slot.path.data(), slot.path.size());
    const auto begin = reinterpret_cast<uintptr_t>(data);
    slot.end.store(begin + size, std::memory_order_relaxed);
    slot.begin.store(begin, std::memory_order_release);
    return;
  }
}

void UnwatchMapping(const void* data) {
  std::lock_guard lock(mutex);
  for (Slot& slot : slots) {
    if (slot.begin.load(std::memory_order_relaxed) != reinterpret_cast<uintptr_t>(data)) continue;
    slot.begin.store(0, std::memory_order_release);
    return;
  }
}

}  // namespace slipstream
