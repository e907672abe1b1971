// Answers of /v1/responses, whole or as typed events. Loop thread only; created per request.
#pragma once

#include <memory>
#include <string>

#include "server/openai/item_answer.h"
#include "server/openai/response_store.h"
#include "server/openai/responses_input.h"

namespace slipstream {

class ResponsesResponder final : public ItemResponder {
 public:
  // `store` is null when the response is not to be kept.
  ResponsesResponder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options,
                     ChatAnswerOptions answer, ResponsesInput input,
                     std::shared_ptr<ResponseStore> store, std::string owner);

 private:
  void Begin(std::string* out) override;
  void Open(std::string* out, const Item& item) override;
  void Delta(std::string* out, const Item& item, std::string_view text,
             const std::string& logprobs) override;
  void Close(std::string* out, const Item& item) override;
  void Complete(std::string* out, const GenerationUsage& usage) override;
  std::string_view id_prefix(OutputEvent::Kind kind) const override;
  std::string WholeBody(const GenerationUsage& usage) const override;
  void AppendError(std::string* out, const Error& error) override;

  void Event(std::string* out, const char* type, Json fields);
  Json ItemJson(const Item& item, bool done) const;
  Json Response(const char* status) const;
  Json Finished(const GenerationUsage& usage) const;
  void Keep(const std::string& body) const;

  const ResponsesInput input_;
  const std::shared_ptr<ResponseStore> store_;
  const std::string owner_;
  int64_t sequence_ = 0;
};

}  // namespace slipstream
