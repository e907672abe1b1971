#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/json_text.h"
#include "server/parsing/tool_forms.h"

namespace slipstream {
namespace {

constexpr const char* kOpen = "<tool_call>";
constexpr const char* kClose = "</tool_call>";
constexpr const char* kFunction = "<function=";
constexpr const char* kFunctionEnd = "</function>";
constexpr const char* kParameter = "<parameter=";
constexpr std::string_view kParameterEnd = "</parameter>";

// Like AppendJsonEscaped, but lets a character be cut by two calls.
void AppendEscapedBytes(std::string* out, std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80) {
      AppendJsonEscaped(out, {&c, 1});
    } else {
      *out += c;
    }
  }
}

class QwenXmlParser final : public ToolParser {
 public:
  explicit QwenXmlParser(ToolParserOptions options)
      : ToolParser({kOpen, kFunction}, std::move(options)) {}

 private:
  enum class Phase { kFunction, kName, kBody, kKey, kValueStart, kValue, kRaw, kClose };

  void OnMarker(size_t marker) override {
    name_.clear();
    phase_ = marker == 0 ? Phase::kFunction : Phase::kName;
  }

  bool StepCall(OutputEvents* out) override {
    switch (phase_) {
      case Phase::kFunction: {
        SkipSpace();
        const Match match = TakeLiteral(kFunction);
        if (match == Match::kNo) GiveBack(out);
        phase_ = Phase::kName;
        return match == Match::kMore ? Wait(Phase::kFunction) : true;
      }
      case Phase::kName:
        return StepName(out);
      case Phase::kBody:
        return StepBody(out);
      case Phase::kKey:
        return StepKey(out);
      case Phase::kValueStart:
        if (Rest().empty()) return false;
        if (Rest()[0] == '\n') Take(1);
        phase_ = Phase::kValue;
        return true;
      case Phase::kValue:
        return StepValue(out);
      case Phase::kRaw:
        if (!StepRaw(kFunctionEnd, out)) return false;
        phase_ = Phase::kBody;
        return true;
      default:
        SkipSpace();
        if (TakeLiteral(kClose) == Match::kMore) return false;
        LeaveCall();
        return true;
    }
  }

  // More text is needed; goes on in `phase`.
  bool Wait(Phase phase) {
    phase_ = phase;
    return false;
  }

  bool StepName(OutputEvents* out) {
    const size_t n = std::min(Rest().find_first_of(" \t\r\n<>\"{"), Rest().size());
    name_ += Rest().substr(0, n);
    Take(n);
    if (Rest().empty()) return false;
    if (Rest()[0] != '>' || !Accepts(name_)) {
      GiveBack(out);
      return true;
    }
    Take(1);
    BeginCall(name_, out);
    AddArguments("{", out);
    first_ = true;
    phase_ = Phase::kBody;
    return true;
  }

  bool StepBody(OutputEvents* out) {
    SkipSpace();
    const Match parameter = TakeLiteral(kParameter);
    if (parameter == Match::kMore) return false;
    if (parameter == Match::kYes) {
      key_.clear();
      phase_ = Phase::kKey;
      return true;
    }
    const Match end = TakeLiteral(kFunctionEnd);
    if (end == Match::kMore) return false;
    if (end == Match::kYes) AddArguments("}", out);
    phase_ = end == Match::kYes ? Phase::kClose : Phase::kRaw;
    return true;
  }

  bool StepKey(OutputEvents* out) {
    if (!TakeUntil(">", &key_)) return false;
    std::string text = first_ ? "" : ", ";
    AppendJsonString(&text, key_);
    text += ": ";
    is_text_ = options_.is_text && options_.is_text(name_, key_);
    if (is_text_) text += '"';
    AddArguments(text, out);
    first_ = false;
    value_.clear();
    phase_ = Phase::kValueStart;
    return true;
  }

  // One line break at either end of a value belongs to the form.
  bool StepValue(OutputEvents* out) {
    const std::string_view rest = Rest();
    const size_t found = rest.find(kParameterEnd);
    const bool ended = found != std::string_view::npos;
    std::string_view text =
        rest.substr(0, ended ? found : rest.size() - PartialMarkerAtEnd(rest, kParameterEnd));
    const bool line_break = text.ends_with('\n');
    if (line_break) text.remove_suffix(1);
    if (is_text_) {
      std::string escaped;
      AppendEscapedBytes(&escaped, text);
      AddArguments(escaped, out);
    } else {
      value_ += text;
    }
    Take(text.size());
    if (!ended) return false;
    Take((line_break ? 1 : 0) + kParameterEnd.size());
    AddArguments(is_text_ ? "\"" : ValueAsJson(), out);
    phase_ = Phase::kBody;
    return true;
  }

  std::string ValueAsJson() const {
    if (nlohmann::json::accept(value_)) return value_;
    std::string out;
    AppendJsonString(&out, value_);
    return out;
  }

  void FinishCall(OutputEvents* out) override {
    if (phase_ == Phase::kRaw) AddArguments(Rest(), out);
    if (phase_ == Phase::kKey) AddArguments(key_, out);
    if (phase_ != Phase::kValue) return;
    std::string text = value_;
    AppendEscapedBytes(&text, Rest());
    AddArguments(text, out);
  }

  Phase phase_ = Phase::kFunction;
  std::string name_, key_, value_;
  bool is_text_ = false;
  bool first_ = true;
};

}  // namespace

std::unique_ptr<OutputParser> MakeQwenXmlParser(ToolParserOptions options) {
  return std::make_unique<QwenXmlParser>(std::move(options));
}

}  // namespace slipstream
