#include "server/openai/item_answer.h"

#include <utility>

#include "server/openai/logprobs.h"

namespace slipstream {
namespace {

void AppendEntries(std::string* list, std::string_view entries) {
  if (!list->empty() && !entries.empty()) list->push_back(',');
  list->append(entries);
}

}  // namespace

using Kind = OutputEvent::Kind;

void ItemResponder::Take(std::string* out, const ChoiceDelta& delta) {
  if (out != nullptr && !begun_) Begin(out);
  begun_ = true;
  Parse(&choices_[0], delta);
  if (delta.finish != FinishReason::kNone) {
    finish_ = delta.finish;
    if (delta.stop_string != nullptr && !IsOurStop(delta)) stop_string_ = *delta.stop_string;
  }
  if (options_.num_logprobs >= 0 && delta.token != nullptr) {
    std::string entry;
    AppendChatLogprob(&entry, *service_.tokenizer(), *delta.token, options_.num_logprobs);
    AppendEntries(&waiting_logprobs_, entry);
  }
  for (const OutputEvent& event : events_.list()) TakeEvent(out, event);
}

void ItemResponder::NewItem(std::string* out, Kind kind) {
  if (out != nullptr && !items_.empty()) Close(out, items_.back());
  Item item;
  item.kind = kind;
  item.index = static_cast<int>(items_.size());
  item.id = NewId(id_prefix(kind));
  if (kind == Kind::kCallBegin) {
    const Call& call = choices_[0].calls[num_calls_++];
    item.call_id = call.id;
    item.name = call.name;
  }
  items_.push_back(std::move(item));
  if (out != nullptr) Open(out, items_.back());
}

void ItemResponder::TakeEvent(std::string* out, const OutputEvent& event) {
  // Tokens of calls and reasoning, and those that mark them, have no place to be told of.
  const std::string logprobs = std::exchange(waiting_logprobs_, "");
  if (event.kind == Kind::kCallBegin) return NewItem(out, Kind::kCallBegin);
  const Kind kind = event.kind == Kind::kArguments ? Kind::kCallBegin : event.kind;
  if (items_.empty() || items_.back().kind != kind) NewItem(out, kind);
  items_.back().text += event.text;
  const std::string told = kind == Kind::kContent ? logprobs : "";
  AppendEntries(&items_.back().logprobs, told);
  if (out != nullptr) Delta(out, items_.back(), event.text, told);
}

void ItemResponder::AppendStreamEnd(std::string* out, const GenerationUsage& usage) {
  if (!items_.empty()) Close(out, items_.back());
  Complete(out, usage);
}

}  // namespace slipstream
