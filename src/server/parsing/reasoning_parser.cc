#include "server/parsing/reasoning_parser.h"

#include <algorithm>

namespace slipstream {
namespace {

size_t SpaceAtStart(std::string_view text) {
  return std::min(text.find_first_not_of(" \n\r\t"), text.size());
}

}  // namespace

void ReasoningParser::Feed(std::string_view text, OutputEvents* out) {
  if (state_ == State::kContent) return next_->Feed(text, out);
  pending_ += text;
  while (Step(out)) {
  }
}

void ReasoningParser::Finish(OutputEvents* out) {
  if (in_reasoning()) {
    out->Add(OutputEvent::Kind::kReasoning, pending_);
  } else if (state_ == State::kStart) {
    next_->Feed(pending_, out);
  }
  pending_.clear();
  next_->Finish(out);
}

// One move; false: more text is needed.
bool ReasoningParser::Step(OutputEvents* out) {
  switch (state_) {
    case State::kStart:
    case State::kInsideStart:
      return StepStart();
    case State::kInside: {
      const std::string_view rest = pending_;
      const size_t found = rest.find(close_);
      const bool ended = found != std::string_view::npos;
      std::string_view text =
          rest.substr(0, ended ? found : rest.size() - PartialMarkerAtEnd(rest, close_));
      text.remove_suffix(SpaceAtEnd(text));
      out->Add(OutputEvent::Kind::kReasoning, text);
      pending_.erase(0, ended ? found + close_.size() : text.size());
      if (ended) state_ = State::kAfter;
      return ended;
    }
    case State::kOpened:
    case State::kAfter:
      pending_.erase(0, SpaceAtStart(pending_));
      if (pending_.empty()) return false;
      state_ = state_ == State::kOpened ? State::kInside : State::kContent;
      return true;
    default:
      next_->Feed(pending_, out);
      pending_.clear();
      return false;
  }
}

bool ReasoningParser::StepStart() {
  const size_t space = SpaceAtStart(pending_);
  const std::string_view rest = std::string_view(pending_).substr(space);
  if (rest.starts_with(open_)) {
    pending_.erase(0, space + open_.size());
    state_ = State::kOpened;
    return true;
  }
  const bool may_open = open_.starts_with(rest);
  if (state_ == State::kInsideStart) {
    pending_.erase(0, space);
    if (!may_open) state_ = State::kInside;
    return !may_open;
  }
  if (may_open && space <= kMaxHeldSpace) return false;
  state_ = State::kContent;
  return true;
}

}  // namespace slipstream
