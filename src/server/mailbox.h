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
  ~Mailbox() { Discard(); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void Push(T&& item) {
    Node* below = head_.load(std::memory_order_relaxed);
    auto* node = new Node{std::move(item), below};
    while (!head_.compare_exchange_weak(below, node)) node->next = below;
    // Whoever fills an empty box wakes the reader. The node itself may be gone by now.
    if (below == nullptr) Wake();
    if (closed_.load()) Discard();
  }

  // Calls `take` for everything pushed so far, oldest first.
  template <typename F>
  void TakeAll(F&& take) {
    Node* node = head_.exchange(nullptr);
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

  // No wake-up starts after this returns. What is in the box and what is pushed later is dropped:
  // an item may own the box, and would keep it alive for ever. Of a push and a close at once, the
  // later one in the single order of these atomics sees the other and drops the item.
  void Close() {
    {
      std::lock_guard lock(mutex_);
      wake_ = nullptr;
    }
    closed_.store(true);
    Discard();
  }

 private:
  struct Node {
    T item;
    Node* next;
  };

  void Discard() {
    TakeAll([](T&&) {});
  }
  void Wake() {
    std::lock_guard lock(mutex_);
    if (wake_) wake_();
  }

  std::atomic<Node*> head_{nullptr};
  std::atomic<bool> closed_{false};
  std::mutex mutex_;
  std::function<void()> wake_;
};

}  // namespace slipstream
