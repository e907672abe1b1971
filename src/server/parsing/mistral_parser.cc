#include <cctype>

#include "server/parsing/tool_forms.h"

namespace slipstream {
namespace {

constexpr const char* kCalls = "[TOOL_CALLS]";
constexpr const char* kArguments = "[ARGS]";
constexpr const char* kCallId = "[CALL_ID]";

bool IsNameByte(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.' ||
         c == ':' || c == '/';
}

class MistralParser final : public JsonCallParser {
 public:
  explicit MistralParser(ToolParserOptions options)
      : JsonCallParser({kCalls}, std::move(options)) {}

 private:
  enum class Phase { kStart, kElement, kName, kAfterName, kCallId, kJson, kRaw, kNext };

  void OnMarker(size_t) override {
    in_array_ = false;
    phase_ = Phase::kStart;
  }

  bool StepCall(OutputEvents* out) override {
    switch (phase_) {
      case Phase::kStart:
      case Phase::kElement:
        return StepStart(out);
      case Phase::kName:
        return StepName(out);
      case Phase::kAfterName:
        return StepAfterName(out);
      case Phase::kCallId: {
        // The server gives its own ids, which are unique.
        const size_t end = Rest().find('[');
        Take(std::min(end, Rest().size()));
        phase_ = Phase::kAfterName;
        return end != std::string_view::npos || ReturnTo(Phase::kCallId);
      }
      case Phase::kJson: {
        const JsonStep step = StepJson(out);
        if (step == JsonStep::kMore) return false;
        if (step == JsonStep::kNoCall) GiveBack(out);
        phase_ = step == JsonStep::kRaw ? Phase::kRaw : Phase::kNext;
        return true;
      }
      case Phase::kRaw:
        if (!StepRaw(kCalls, out)) return false;
        LeaveCall();
        return true;
      default:
        return StepNext();
    }
  }

  // More text is needed; goes on in `phase`.
  bool ReturnTo(Phase phase) {
    phase_ = phase;
    return false;
  }

  bool StepStart(OutputEvents* out) {
    SkipSpace();
    if (Rest().empty()) return false;
    const char c = Rest()[0];
    if (phase_ == Phase::kStart && c == '[') {
      Take(1);
      in_array_ = true;
      phase_ = Phase::kElement;
    } else if (c == '{') {
      StartObject();
      phase_ = Phase::kJson;
    } else if (phase_ == Phase::kStart && IsNameByte(c)) {
      phase_ = Phase::kName;
      name_.clear();
    } else {
      GiveBack(out);
    }
    return true;
  }

  bool StepName(OutputEvents* out) {
    size_t n = 0;
    while (n < Rest().size() && IsNameByte(Rest()[n])) ++n;
    name_ += Rest().substr(0, n);
    Take(n);
    if (Rest().empty()) return false;
    phase_ = Phase::kAfterName;
    if (Rest()[0] != '[' && Rest()[0] != '{' && !IsSpace(Rest()[0])) GiveBack(out);
    return true;
  }

  bool StepAfterName(OutputEvents* out) {
    SkipSpace();
    const Match arguments = TakeLiteral(kArguments);
    if (arguments == Match::kMore) return false;
    const Match id = arguments == Match::kYes ? Match::kNo : TakeLiteral(kCallId);
    if (id == Match::kMore) return false;
    if (id == Match::kYes) {
      phase_ = Phase::kCallId;
    } else if (arguments == Match::kYes || Rest()[0] == '{') {
      StartArguments(name_);
      phase_ = Phase::kJson;
    } else {
      GiveBack(out);
    }
    return true;
  }

  bool StepNext() {
    SkipSpace();
    if (Rest().empty()) return false;
    const char c = Rest()[0];
    if (in_array_ && c == ']') Take(1);
    LeaveCall();
    if (in_array_ && c == ',') {
      EnterCall();
      Take(1);
      phase_ = Phase::kElement;
    }
    return true;
  }

  void FinishCall(OutputEvents* out) override {
    if (phase_ == Phase::kJson) FinishJson(out);
    if (phase_ == Phase::kRaw) AddArguments(Rest(), out);
  }

  Phase phase_ = Phase::kStart;
  bool in_array_ = false;
  std::string name_;
};

}  // namespace

std::unique_ptr<OutputParser> MakeMistralParser(ToolParserOptions options) {
  return std::make_unique<MistralParser>(std::move(options));
}

}  // namespace slipstream
