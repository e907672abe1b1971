#include "tokenizer/stop_matcher.h"

#include <deque>

namespace slipstream {

StopMatcher::StopMatcher(const std::vector<std::string>& stops, bool include_stop)
    : nodes_(1), include_stop_(include_stop) {
  for (size_t i = 0; i < stops.size(); ++i) {
    if (!stops[i].empty()) Insert(stops[i], static_cast<int>(i));
  }
  Link();
}

int32_t StopMatcher::Child(int32_t node, uint8_t byte) const {
  for (const auto& [label, child] : nodes_[node].next) {
    if (label == byte) return child;
  }
  return -1;
}

void StopMatcher::Insert(const std::string& stop, int index) {
  int32_t node = 0;
  for (const char c : stop) {
    const uint8_t byte = static_cast<uint8_t>(c);
    int32_t child = Child(node, byte);
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_.push_back(Node{.depth = nodes_[node].depth + 1});
      nodes_[node].next.emplace_back(byte, child);
    }
    node = child;
  }
  if (nodes_[node].stop < 0) {  // the same stop string twice: the first index counts
    nodes_[node].stop = index;
    nodes_[node].stop_length = static_cast<int32_t>(stop.size());
  }
}

void StopMatcher::Link() {
  std::deque<int32_t> queue;
  for (const auto& [byte, child] : nodes_[0].next) queue.push_back(child);
  while (!queue.empty()) {
    const int32_t node = queue.front();
    queue.pop_front();
    for (const auto& [byte, child] : nodes_[node].next) {
      nodes_[child].fail = Step(nodes_[node].fail, byte);
      queue.push_back(child);
    }
    const Node& shorter = nodes_[nodes_[node].fail];
    if (nodes_[node].stop < 0) {
      nodes_[node].stop = shorter.stop;
      nodes_[node].stop_length = shorter.stop_length;
    }
  }
}

int32_t StopMatcher::Step(int32_t node, uint8_t byte) const {
  while (true) {
    const int32_t child = Child(node, byte);
    if (child >= 0) return child;
    if (node == 0) return 0;
    node = nodes_[node].fail;
  }
}

StopMatcher::Output StopMatcher::Push(std::string_view text) {
  Output output;
  if (stopped_) return output;
  for (const char c : text) {
    held_.push_back(c);
    state_ = Step(state_, static_cast<uint8_t>(c));
    const Node& node = nodes_[state_];
    if (node.stop >= 0) {
      stopped_ = true;
      output.stopped = node.stop;
      if (!include_stop_) held_.resize(held_.size() - node.stop_length);
      output.text = std::move(held_);
      held_.clear();
      return output;
    }
  }
  const size_t shown = held_.size() - nodes_[state_].depth;
  output.text = held_.substr(0, shown);
  held_.erase(0, shown);
  return output;
}

std::string StopMatcher::Flush() {
  std::string text = std::move(held_);
  held_.clear();
  state_ = 0;
  return text;
}

}  // namespace slipstream
