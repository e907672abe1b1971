// From a model's text to what an OpenAI answer is made of: content, reasoning, tool calls. The same
// parser serves streams and whole answers: events joined do not depend on how the text was cut into
// Feed calls. No parser knows HTTP or JSON bodies. One per generated choice, used by one thread.
//
// Nothing fails. Text that only looked like a tool call becomes content; what is dropped is the
// form itself: markers, and white space beside them. Once a call has begun its arguments are what
// the model writes up to the end of the call, valid JSON or not.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipstream {

struct OutputEvent {
  enum class Kind { kContent, kReasoning, kCallBegin, kArguments };
  Kind kind = Kind::kContent;
  int call = -1;     // of kCallBegin and kArguments: counts from 0
  std::string text;  // the function's name for kCallBegin, else more text

  bool operator==(const OutputEvent&) const = default;
};

// Events in order; text that continues the last event is appended to it.
class OutputEvents {
 public:
  void Add(OutputEvent::Kind kind, std::string_view text, int call = -1) {
    if (text.empty() && kind != OutputEvent::Kind::kCallBegin) return;
    if (!list_.empty() && kind != OutputEvent::Kind::kCallBegin && list_.back().kind == kind &&
        list_.back().call == call) {
      list_.back().text += text;
    } else {
      list_.push_back({kind, call, std::string(text)});
    }
  }
  const std::vector<OutputEvent>& list() const { return list_; }
  std::vector<OutputEvent>& list() { return list_; }
  void clear() { list_.clear(); }

 private:
  std::vector<OutputEvent> list_;
};

class OutputParser {
 public:
  virtual ~OutputParser() = default;
  virtual void Feed(std::string_view text, OutputEvents* out) = 0;
  // The text is over; what was held back is told. Nothing may be fed afterwards.
  virtual void Finish(OutputEvents* out) = 0;
  // Whether the next text would be reasoning.
  virtual bool in_reasoning() const { return false; }
};

// All text is content.
class PlainParser final : public OutputParser {
 public:
  void Feed(std::string_view text, OutputEvents* out) override {
    out->Add(OutputEvent::Kind::kContent, text);
  }
  void Finish(OutputEvents*) override {}
};

// How much of the end of `text` may be the beginning of `marker`, in bytes.
size_t PartialMarkerAtEnd(std::string_view text, std::string_view marker);
// JSON's white space.
bool IsSpace(char c);
// Bytes of white space at the end of `text`, at most kMaxHeldSpace: more is text, so that a model
// that writes nothing else is not held back for ever.
inline constexpr size_t kMaxHeldSpace = 64;
size_t SpaceAtEnd(std::string_view text);

}  // namespace slipstream
