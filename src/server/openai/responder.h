// Between a Generation and an Exchange: answers whole or as server-sent events, turns a client that
// left into a cancel, keeps silent streams alive. Chat and text completions derive their shapes
// from it. Loop thread only; lives until its exchange has ended. Source: the WHATWG event stream
// format, and what OpenAI clients expect of it.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "server/generation.h"
#include "server/http/exchange.h"
#include "server/openai/common_params.h"
#include "server/service.h"

namespace slipstream {

class Responder : public GenerationObserver,
                  public ExchangeHooks,
                  public std::enable_shared_from_this<Responder> {
 public:
  Responder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options);

  // Hands the request to the service with this as its observer.
  void Run(GenerateRequest request);

  void OnDelta(const ChoiceDelta& delta) final;
  void OnFlush() final;
  void OnFinished(const GenerationUsage& usage) final;
  void OnError(const Error& error) final;
  void OnDisconnect() final;
  void OnIdle() final;
  void OnTick(int64_t now_us) final;

 protected:
  // Appends to `out` the events that `delta` makes in a stream.
  virtual void AppendChunks(std::string* out, const ChoiceDelta& delta) = 0;
  // Everything up to the value of "choices", for the last chunk, which carries the usage.
  virtual const std::string& chunk_head() const = 0;
  // Keeps `delta` for an answer in one piece, and that answer.
  virtual void Collect(const ChoiceDelta& delta) = 0;
  virtual std::string WholeBody(const GenerationUsage& usage) const = 0;
  // Whether the finished answer is what was asked for; an error takes its place.
  virtual Status Verify() const { return {}; }
  // What other APIs do in another way: the end of a stream, an error as its last event, an error as
  // the whole answer, and what keeps a silent stream open.
  virtual void AppendStreamEnd(std::string* out, const GenerationUsage& usage);
  virtual void AppendError(std::string* out, const Error& error);
  virtual HttpResponse Refusal(const Error& error) const;
  virtual std::string_view idle_text() const { return ": keep-alive\n\n"; }
  // Of the completion tokens.
  virtual int64_t num_reasoning_tokens() const { return 0; }

  // As far as it is known.
  GenerationUsage usage_so_far() const {
    return generation_ ? generation_->usage() : GenerationUsage{};
  }
  // An answer's object up to the value of "choices".
  std::string ObjectHead(std::string_view object) const;
  // Ends a chunk after its choices: usage if every chunk carries it.
  void CloseChunk(std::string* out) const;

  Service& service_;
  const ResponseOptions options_;

 private:
  void BeginStream();
  HttpHeaders Headers() const;

  std::shared_ptr<Exchange> exchange_;
  std::shared_ptr<Generation> generation_;
  bool begun_ = false;
  bool done_ = false;
};

void AppendUsage(std::string* out, const GenerationUsage& usage, int64_t num_reasoning_tokens = 0);
// "stop", "length" or null; `called` turns "stop" into "tool_calls".
void AppendFinishReason(std::string* out, FinishReason finish, bool called = false);
// [1,2,3]
void AppendIds(std::string* out, std::span<const int32_t> ids);
// The field token_ids of a chunk.
void AppendTokenId(std::string* out, const ChoiceDelta& delta);
// The stop string, the stop token's id, or null.
void AppendStopReason(std::string* out, const ChoiceDelta& delta);

// Tells the client of fields that had no effect.
void AddIgnoredFields(const std::vector<std::string>& names, HttpHeaders* headers);

}  // namespace slipstream
