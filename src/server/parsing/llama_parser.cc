#include "server/parsing/tool_forms.h"

namespace slipstream {
namespace {

constexpr const char* kTag = "<|python_tag|>";

class LlamaParser final : public JsonCallParser {
 public:
  explicit LlamaParser(ToolParserOptions options) : JsonCallParser({kTag}, std::move(options)) {
    EnterCall();  // without the tag an answer is a call only from its first byte on
  }

 private:
  enum class Phase { kStart, kJson, kRaw, kNext };

  void OnMarker(size_t) override {
    tagged_ = true;
    StartObject();
    phase_ = Phase::kJson;
  }

  bool StepCall(OutputEvents* out) override {
    switch (phase_) {
      case Phase::kStart:
        return StepStart(out);
      case Phase::kJson: {
        const JsonStep step = StepJson(out);
        if (step == JsonStep::kMore) return false;
        if (step == JsonStep::kNoCall) GiveBack(out);
        phase_ = step == JsonStep::kRaw ? Phase::kRaw : Phase::kNext;
        return true;
      }
      case Phase::kRaw:
        if (!StepRaw(kTag, out)) return false;
        LeaveCall();
        return true;
      default:
        SkipSpace();
        if (Rest().empty()) return false;
        LeaveCall();
        EnterCall();
        if (Rest()[0] == ';') Take(1);
        phase_ = Phase::kStart;
        return true;
    }
  }

  bool StepStart(OutputEvents* out) {
    SkipSpace();
    if (Rest().empty()) return false;
    const Match tag = TakeLiteral(kTag);
    if (tag == Match::kMore) return false;
    if (tag == Match::kYes) {
      OnMarker(0);
    } else if (Rest()[0] == '{') {
      // An answer in JSON may have a "name" of something else.
      StartObject(/*known_only=*/!tagged_);
      phase_ = Phase::kJson;
    } else {
      GiveBack(out);
    }
    return true;
  }

  void FinishCall(OutputEvents* out) override {
    if (phase_ == Phase::kJson) FinishJson(out);
    if (phase_ == Phase::kRaw) AddArguments(Rest(), out);
  }

  Phase phase_ = Phase::kStart;
  bool tagged_ = false;
};

}  // namespace

std::unique_ptr<OutputParser> MakeLlamaParser(ToolParserOptions options) {
  return std::make_unique<LlamaParser>(std::move(options));
}

}  // namespace slipstream
