// From the engine thread to one I/O thread: token events of many streams, woken once for all that
// arrive before the I/O thread looks. Push is lock-free and never waits; taking everything is one
// exchange. The mutex guards only the wake-up against Close. Treiber's stack (IBM RJ 5118, 1986);
// the taker empties it whole, so there is no ABA.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace slipstream {

template <typename T>
class Mailbox {
 public:
  explicit Mailbox(std::function<void()> wake) : wake_(std::move(wake)) {}
  ~Mailbox() {
    TakeAll([](T&&) {});
  }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void Push(T&& item) {
    Node* below = head_.load(std::memory_order_relaxed);
    auto* node = new Node{std::move(item), below};
    while (!head_.compare_exchange_weak(below, node, std::memory_order_release,
                                        std::memory_order_relaxed)) {
      node->next = below;
    }
    // Whoever fills an empty box wakes the reader. The node itself may be gone by now.
    if (below == nullptr) Wake();
  }

  // Calls `take` for everything pushed so far, oldest first. One reader.
  template <typename F>
  void TakeAll(F&& take) {
    Node* node = head_.exchange(nullptr, std::memory_order_acquire);
    Node* oldest = nullptr;
    while (node != nullptr) {
      Node* next = node->next;
      node->next = oldest;
      oldest = node;
      node = next;
    }
    while (oldest != nullptr) {
      std::unique_ptr<Node> owned(oldest);
      oldest = owned->next;
      take(std::move(owned->item));
    }
  }

  // No wake-up starts after this returns; pushes are still taken and freed with the box.
  void Close() {
    std::lock_guard lock(mutex_);
    wake_ = nullptr;
  }

 private:
  struct Node {
    T item;
    Node* next;
  };

  void Wake() {
    std::lock_guard lock(mutex_);
    if (wake_) wake_();
  }

  std::atomic<Node*> head_{nullptr};
  std::mutex mutex_;
  std::function<void()> wake_;
};

}  // namespace slipstream
