// Answers that are a list of typed items, each opened, filled and closed in turn: /v1/responses and
// /v1/messages. Cuts the events of a chat answer into items and tells a subclass, which knows the
// form. One choice per request. Loop thread only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/openai/chat_answer.h"

namespace slipstream {

class ItemResponder : public ChatResponder {
 protected:
  struct Item {
    OutputEvent::Kind kind = OutputEvent::Kind::kContent;  // kCallBegin: a call
    int index = 0;
    std::string id;       // where the API names items
    std::string call_id;  // of a call, as its name
    std::string name;
    std::string text;      // or arguments
    std::string logprobs;  // of content, where asked for: the entries of a JSON array
  };

  ItemResponder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options,
                ChatAnswerOptions answer)
      : ChatResponder(service, std::move(exchange), std::move(options), std::move(answer), 1) {}

  // Events of a stream, in this order; Delta any number of times. `logprobs` as in Item.
  virtual void Begin(std::string* out) = 0;
  virtual void Open(std::string* out, const Item& item) = 0;
  virtual void Delta(std::string* out, const Item& item, std::string_view text,
                     const std::string& logprobs) = 0;
  virtual void Close(std::string* out, const Item& item) = 0;
  virtual void Complete(std::string* out, const GenerationUsage& usage) = 0;
  virtual std::string_view id_prefix(OutputEvent::Kind kind) const = 0;

  const std::vector<Item>& items() const { return items_; }
  FinishReason finish() const { return finish_; }
  // That ended the answer, if it was the client's.
  const std::string& stop_string() const { return stop_string_; }
  bool begun() const { return begun_; }

  void AppendChunks(std::string* out, const ChoiceDelta& delta) final { Take(out, delta); }
  void Collect(const ChoiceDelta& delta) final { Take(nullptr, delta); }
  void AppendStreamEnd(std::string* out, const GenerationUsage& usage) final;

 private:
  void Take(std::string* out, const ChoiceDelta& delta);
  void TakeEvent(std::string* out, const OutputEvent& event);
  void NewItem(std::string* out, OutputEvent::Kind kind);

  std::vector<Item> items_;
  std::string waiting_logprobs_;  // of tokens whose text has not come out of the parser
  FinishReason finish_ = FinishReason::kNone;
  std::string stop_string_;
  size_t num_calls_ = 0;
  bool begun_ = false;
};

}  // namespace slipstream
