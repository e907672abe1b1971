// Finds stop strings in streamed text, also those cut by token borders, and holds back text that
// may be the start of one. One StopMatcher per generated choice, used by one thread at a time.
// Cannot fail. The result does not depend on how the text was cut: the match that ends first wins,
// and of those that end together the longest. Algorithm: Aho and Corasick, CACM 18(6), 1975.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipstream {

class StopMatcher {
 public:
  struct Output {
    std::string text;            // safe to show
    std::optional<int> stopped;  // index of the stop string found; what follows it is dropped
  };

  // Empty stop strings are ignored. With `include_stop` the stop string ends the text.
  StopMatcher(const std::vector<std::string>& stops, bool include_stop);

  Output Push(std::string_view text);
  // Text still held back when generation ends for another reason. Nothing after a stop was found.
  std::string Flush();
  bool stopped() const { return stopped_; }

 private:
  struct Node {
    int32_t depth = 0;
    int32_t fail = 0;
    int32_t stop = -1;  // longest stop string that ends here
    int32_t stop_length = 0;
    std::vector<std::pair<uint8_t, int32_t>> next = {};
  };
  int32_t Step(int32_t node, uint8_t byte) const;
  int32_t Child(int32_t node, uint8_t byte) const;
  void Insert(const std::string& stop, int index);
  void Link();

  std::vector<Node> nodes_;
  bool include_stop_;
  bool stopped_ = false;
  int32_t state_ = 0;
  std::string held_;  // the text that the state stands for, not shown yet
};

}  // namespace slipstream
