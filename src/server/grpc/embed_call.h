// One Embed call: from the message to the service, and its vectors into the response. Everything
// but Refuse and gRPC's callbacks happens on a loop's thread. Lives until gRPC says that the call
// is done and the service has let go of it. Internal to grpc/.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <memory>

#include "server/embedding.h"
#include "server/service.h"
#include "slipstream/v1/inference.pb.h"

namespace slipstream {

struct ParsedEmbed {
  GenerateRequest request;
  EmbeddingOptions options;
};

Result<ParsedEmbed> ParseEmbedRequest(const Service& service, const v1::EmbedRequest& message);

class EmbedCall final : public grpc::ServerUnaryReactor,
                        public GenerationObserver,
                        public std::enable_shared_from_this<EmbedCall> {
 public:
  // gRPC's `response` lives until Finish.
  EmbedCall(Service& service, EventLoop& loop, v1::EmbedResponse* response)
      : service_(service), loop_(loop), response_(response) {}

  // Before Start: when the client gives up, so that a cancelled call can tell why.
  void set_deadline(std::chrono::system_clock::time_point deadline) { deadline_ = deadline; }
  // Goes to the loop and starts. The call keeps itself alive from here on.
  void Start(ParsedEmbed parsed);
  // Ends without having started.
  void Refuse(const Error& error, std::shared_ptr<RequestRecord> record);

  void OnCancel() override;
  void OnDone() override;

  void OnDelta(const ChoiceDelta& delta) override;
  void OnFinished(const GenerationUsage& usage) override;
  void OnError(const Error& error) override;

 private:
  void FinishWith(const grpc::Status& status);

  Service& service_;
  EventLoop& loop_;
  v1::EmbedResponse* const response_;
  std::shared_ptr<EmbedCall> self_;
  std::shared_ptr<RequestRecord> record_;
  std::chrono::system_clock::time_point deadline_ = std::chrono::system_clock::time_point::max();
  EmbeddingOptions options_;
  // The loop's thread only.
  std::shared_ptr<Generation> generation_;
  bool cancelled_ = false;
  bool finished_ = false;
  Status failed_;  // of a vector
};

}  // namespace slipstream
