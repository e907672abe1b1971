#include "server/parsing/tool_parser.h"

#include <algorithm>

namespace slipstream {

using Kind = OutputEvent::Kind;

void ToolParser::Feed(std::string_view text, OutputEvents* out) {
  pending_ += text;
  while (in_call_ ? StepCall(out) : StepText(out)) {
  }
  DropTaken();
}

void ToolParser::Finish(OutputEvents* out) {
  if (in_call_ && !call_begun_) GiveBack(out);
  if (in_call_) {
    FinishCall(out);
  } else if (!after_call_ || SpaceAtEnd(Rest()) < Rest().size()) {
    out->Add(Kind::kContent, Rest());
  }
  pending_.clear();
  at_ = 0;
}

void ToolParser::DropTaken() {
  pending_.erase(0, at_);
  at_ = 0;
}

// White space is held back until it is known whether a call follows: it then belongs to the form.
bool ToolParser::StepText(OutputEvents* out) {
  const std::string_view rest = Rest();
  size_t found = std::string_view::npos, which = 0, held = 0;
  for (size_t i = 0; i < markers_.size(); ++i) {
    const size_t at = rest.find(markers_[i]);
    if (at < found) {
      found = at;
      which = i;
    }
    held = std::max(held, PartialMarkerAtEnd(rest, markers_[i]));
  }
  const bool is_marker = found != std::string_view::npos;
  std::string_view text = rest.substr(0, is_marker ? found : rest.size() - held);
  text.remove_suffix(SpaceAtEnd(text));
  if (!text.empty()) {
    out->Add(Kind::kContent, text);
    after_call_ = false;
    at_ += text.size();
  }
  if (!is_marker) return false;
  EnterCall();
  Take(found - text.size() + markers_[which].size());
  OnMarker(which);
  return true;
}

void ToolParser::Take(size_t num_bytes) {
  if (!call_begun_) taken_.append(pending_, at_, num_bytes);
  at_ += num_bytes;
}

bool ToolParser::IsKnown(const std::string& name) const {
  return std::find(options_.names.begin(), options_.names.end(), name) != options_.names.end();
}

void ToolParser::SkipSpace() {
  size_t n = 0;
  while (n < Rest().size() && IsSpace(Rest()[n])) ++n;
  Take(n);
}

ToolParser::Match ToolParser::TakeLiteral(std::string_view literal) {
  const std::string_view rest = Rest();
  if (rest.starts_with(literal)) {
    Take(literal.size());
    return Match::kYes;
  }
  return literal.starts_with(rest) ? Match::kMore : Match::kNo;
}

bool ToolParser::TakeUntil(std::string_view end, std::string* text) {
  const size_t found = Rest().find(end);
  const bool ended = found != std::string_view::npos;
  const size_t n = ended ? found : Rest().size() - PartialMarkerAtEnd(Rest(), end);
  text->append(Rest().substr(0, n));
  Take(n + (ended ? end.size() : 0));
  return ended;
}

void ToolParser::EnterCall() {
  in_call_ = true;
  call_begun_ = false;
  taken_.clear();
}

void ToolParser::BeginCall(const std::string& name, OutputEvents* out) {
  call_begun_ = true;
  taken_.clear();
  ++num_calls_;
  if (num_calls_ == 1 || options_.parallel) out->Add(Kind::kCallBegin, name, num_calls_ - 1);
}

void ToolParser::AddArguments(std::string_view text, OutputEvents* out) {
  if (num_calls_ == 1 || options_.parallel) out->Add(Kind::kArguments, text, num_calls_ - 1);
}

void ToolParser::LeaveCall() {
  after_call_ = true;
  in_call_ = call_begun_ = false;
}

void ToolParser::GiveBack(OutputEvents* out) {
  in_call_ = false;
  after_call_ = after_call_ && SpaceAtEnd(taken_) == taken_.size();
  if (!after_call_) out->Add(Kind::kContent, taken_);
  taken_.clear();
}

bool ToolParser::StepRaw(std::string_view end, OutputEvents* out) {
  const std::string_view rest = Rest();
  const size_t found = rest.find(end);
  const bool ended = found != std::string_view::npos;
  const size_t held = ended ? 0 : PartialMarkerAtEnd(rest, end);
  std::string_view text = rest.substr(0, ended ? found : rest.size() - held);
  text.remove_suffix(SpaceAtEnd(text));
  AddArguments(text, out);
  at_ += ended ? found : text.size();
  return ended;
}

void JsonCallParser::StartObject(bool known_only) {
  object_ = CallObject([this, known_only](const std::string& name) {
    return known_only ? IsKnown(name) : Accepts(name);
  });
  has_name_ = false;
}

void JsonCallParser::StartArguments(std::string name) {
  arguments_ = {};
  name_ = std::move(name);
  has_name_ = true;
}

JsonCallParser::JsonStep JsonCallParser::StepObject(OutputEvents* out) {
  CallObject::Step step = CallObject::Step::kMore;
  while (step == CallObject::Step::kMore && !Rest().empty()) {
    step = object_.Push(Rest()[0]);
    if (step != CallObject::Step::kBad) Take(1);
    if (object_.begun() && !call_begun()) BeginCall(object_.name(), out);
  }
  if (!call_begun()) {
    return step == CallObject::Step::kBad ? JsonStep::kNoCall : JsonStep::kMore;
  }
  if (step != CallObject::Step::kBad) {
    AddArguments(object_.TakeArguments(), out);
    return step == CallObject::Step::kEnd ? JsonStep::kEnd : JsonStep::kMore;
  }
  const bool complete = object_.arguments_complete();
  AddArguments(object_.TakeRest(), out);
  return complete ? JsonStep::kEnd : JsonStep::kRaw;
}

JsonCallParser::JsonStep JsonCallParser::StepArguments(OutputEvents* out) {
  if (!call_begun()) {
    SkipSpace();
    if (Rest().empty()) return JsonStep::kMore;
    if (Rest()[0] != '{' || !Accepts(name_)) return JsonStep::kNoCall;
    BeginCall(name_, out);
  }
  JsonScanner::Step step = JsonScanner::Step::kMore;
  std::string text;
  while (step == JsonScanner::Step::kMore && !Rest().empty()) {
    step = arguments_.Push(Rest()[0], &text);
    if (step != JsonScanner::Step::kBad) Take(1);
  }
  if (step == JsonScanner::Step::kBad) text += arguments_.held();
  AddArguments(text, out);
  if (step == JsonScanner::Step::kBad) return JsonStep::kRaw;
  return step == JsonScanner::Step::kEnd ? JsonStep::kEnd : JsonStep::kMore;
}

void JsonCallParser::FinishJson(OutputEvents* out) {
  AddArguments(has_name_ ? arguments_.held() : object_.TakeRest(), out);
}

}  // namespace slipstream
