#include "server/parsing/tool_forms.h"

namespace slipstream {
namespace {

constexpr std::string_view kFence = "```";
constexpr std::string_view kFenceOpen = "```json";

class DeepseekParser final : public JsonCallParser {
 public:
  explicit DeepseekParser(ToolParserOptions options)
      : JsonCallParser({std::string(deepseek::kCallsBegin), std::string(deepseek::kCallBegin)},
                       std::move(options)) {}

 private:
  enum class Phase {
    kBetween,      // a call or the end of all calls must come
    kHeader,       // up to the separator
    kAfterHeader,  // tells which of the two forms this is
    kName,         // of a fenced call, up to the end of the line
    kFence,
    kJson,
    kRaw,
    kFenceEnd,
    kEnd
  };

  void OnMarker(size_t marker) override {
    any_call_ = false;
    text_.clear();
    phase_ = marker == 0 ? Phase::kBetween : Phase::kHeader;
  }

  bool StepCall(OutputEvents* out) override {
    switch (phase_) {
      case Phase::kBetween:
        return StepBetween(out);
      case Phase::kHeader:
        if (!TakeUntil(deepseek::kSeparator, &text_)) return false;
        phase_ = Phase::kAfterHeader;
        return true;
      case Phase::kAfterHeader:
        if (Rest().empty()) return false;
        // A function may be called "function": what follows tells.
        if (text_ != "function" || Rest()[0] == '{') return EnterArguments(out);
        text_.clear();
        phase_ = Phase::kName;
        return true;
      case Phase::kName:
        if (!TakeUntil("\n", &text_)) return false;
        phase_ = Phase::kFence;
        return true;
      case Phase::kFence:
        SkipSpace();
        if (TakeLiteral(kFenceOpen) == Match::kMore) return false;
        return EnterArguments(out);
      case Phase::kJson: {
        const JsonStep step = StepJson(out);
        if (step == JsonStep::kMore) return false;
        if (step == JsonStep::kNoCall) GiveBack(out);
        phase_ = step == JsonStep::kRaw ? Phase::kRaw : Phase::kFenceEnd;
        return true;
      }
      case Phase::kRaw:
        if (!StepRaw(deepseek::kCallEnd, out)) return false;
        phase_ = Phase::kEnd;
        return true;
      case Phase::kFenceEnd:
        SkipSpace();
        if (TakeLiteral(kFence) == Match::kMore) return false;
        phase_ = Phase::kEnd;
        return true;
      default:
        SkipSpace();
        if (TakeLiteral(deepseek::kCallEnd) == Match::kMore) return false;
        any_call_ = true;
        LeaveCall();
        EnterCall();
        phase_ = Phase::kBetween;
        return true;
    }
  }

  bool StepBetween(OutputEvents* out) {
    SkipSpace();
    const Match begin = TakeLiteral(deepseek::kCallBegin);
    if (begin == Match::kMore) return false;
    if (begin == Match::kYes) {
      text_.clear();
      phase_ = Phase::kHeader;
      return true;
    }
    const Match end = TakeLiteral(deepseek::kCallsEnd);
    if (end == Match::kMore) return false;
    if (end == Match::kYes && any_call_) {
      LeaveCall();
    } else {
      GiveBack(out);
    }
    return true;
  }

  // text_ is the function's name.
  bool EnterArguments(OutputEvents* out) {
    const size_t first = text_.find_first_not_of(" \n\r\t");
    if (first == std::string::npos) {
      GiveBack(out);
      return true;
    }
    const size_t last = text_.find_last_not_of(" \n\r\t");
    StartArguments(text_.substr(first, last - first + 1));
    phase_ = Phase::kJson;
    return true;
  }

  void FinishCall(OutputEvents* out) override {
    if (phase_ == Phase::kJson) FinishJson(out);
    if (phase_ == Phase::kRaw) AddArguments(Rest(), out);
  }

  Phase phase_ = Phase::kBetween;
  std::string text_;       // of a header or name
  bool any_call_ = false;  // since the marker
};

}  // namespace

std::unique_ptr<OutputParser> MakeDeepseekParser(ToolParserOptions options) {
  return std::make_unique<DeepseekParser>(std::move(options));
}

}  // namespace slipstream
