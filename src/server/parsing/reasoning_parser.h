// Splits what a model thinks from what it says: <think>...</think> at the beginning of the answer
// is reasoning, the rest goes to the parser behind. The opening may have been part of the prompt.
// White space beside the markers is dropped. An answer that begins with anything else has no
// reasoning, and one whose reasoning never ends has nothing else.
#pragma once

#include <memory>
#include <string>

#include "server/parsing/output_parser.h"

namespace slipstream {

class ReasoningParser final : public OutputParser {
 public:
  // `starts_inside`: the prompt ends within reasoning.
  ReasoningParser(std::string open, std::string close, bool starts_inside,
                  std::unique_ptr<OutputParser> next)
      : open_(std::move(open)),
        close_(std::move(close)),
        next_(std::move(next)),
        state_(starts_inside ? State::kInsideStart : State::kStart) {}

  void Feed(std::string_view text, OutputEvents* out) override;
  void Finish(OutputEvents* out) override;
  bool in_reasoning() const override {
    return state_ == State::kInsideStart || state_ == State::kOpened || state_ == State::kInside;
  }

 private:
  enum class State {
    kStart,        // only white space and a part of the opening have come
    kInsideStart,  // the same, and it is reasoning whether the opening comes or not
    kOpened,       // white space after the opening is dropped
    kInside,
    kAfter,    // white space after the end is dropped
    kContent,  // all goes to next_
  };

  bool Step(OutputEvents* out);
  bool StepStart();

  const std::string open_, close_;
  const std::unique_ptr<OutputParser> next_;
  State state_;
  std::string pending_;
};

}  // namespace slipstream
