#include "server/parsing/tool_forms.h"

namespace slipstream {
namespace {

constexpr const char* kOpen = "<tool_call>";
constexpr const char* kClose = "</tool_call>";

class HermesParser final : public JsonCallParser {
 public:
  explicit HermesParser(ToolParserOptions options) : JsonCallParser({kOpen}, std::move(options)) {}

 private:
  enum class Phase { kJson, kRaw, kClose };

  void OnMarker(size_t) override {
    StartObject();
    phase_ = Phase::kJson;
  }

  bool StepCall(OutputEvents* out) override {
    switch (phase_) {
      case Phase::kJson: {
        const JsonStep step = StepJson(out);
        if (step == JsonStep::kMore) return false;
        if (step == JsonStep::kNoCall) GiveBack(out);
        phase_ = step == JsonStep::kRaw ? Phase::kRaw : Phase::kClose;
        return true;
      }
      case Phase::kRaw:
        if (!StepRaw(kClose, out)) return false;
        phase_ = Phase::kClose;
        return true;
      default:
        SkipSpace();
        if (TakeLiteral(kClose) == Match::kMore) return false;
        LeaveCall();  // a missing end is no reason to drop the call
        return true;
    }
  }

  void FinishCall(OutputEvents* out) override {
    if (phase_ == Phase::kJson) FinishJson(out);
    if (phase_ == Phase::kRaw) AddArguments(Rest(), out);
  }

  Phase phase_ = Phase::kJson;
};

}  // namespace

std::unique_ptr<OutputParser> MakeHermesParser(ToolParserOptions options) {
  return std::make_unique<HermesParser>(std::move(options));
}

}  // namespace slipstream
