// One Generate call: from the message to the service, and its events into the stream. Events come
// on a loop's thread, gRPC's callbacks on gRPC's, so a mutex guards the queue between them. Lives
// until gRPC says that the call is done and the service has let go of it. Internal to grpc/.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>

#include "server/service.h"
#include "slipstream/v1/inference.pb.h"

namespace slipstream {

grpc::Status ToGrpcStatus(const Error& error);

// What ends a call that gRPC says is cancelled: its client left, or its deadline passed.
grpc::Status CancelledBy(std::chrono::system_clock::time_point deadline);

// The call of `record` is answered: gives its key's place back and logs it.
void CloseRecord(const Service& service, const grpc::Status& status, RequestRecord* record);

// Checks ranges that the engine does not check, and defaults.
Result<GenerateRequest> ParseGenerateRequest(const Service& service,
                                             const v1::GenerateRequest& message);

class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                           public GenerationObserver,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  GenerateCall(Service& service, EventLoop& loop) : service_(service), loop_(loop) {}

  // Before Start: when the client gives up, so that a cancelled call can tell why.
  void set_deadline(std::chrono::system_clock::time_point deadline) { deadline_ = deadline; }
  // Goes to the loop and starts. The call keeps itself alive from here on.
  void Start(GenerateRequest request);
  // Ends without having started.
  void Refuse(const Error& error, std::shared_ptr<RequestRecord> record);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void OnDelta(const ChoiceDelta& delta) override;
  void OnFinished(const GenerationUsage& usage) override;
  void OnError(const Error& error) override;

 private:
  void Push(v1::GenerateResponse message);
  void FinishWith(grpc::Status status);
  void Advance();  // REQUIRES: mutex_ held

  Service& service_;
  EventLoop& loop_;
  std::shared_ptr<GenerateCall> self_;
  std::shared_ptr<RequestRecord> record_;
  std::chrono::system_clock::time_point deadline_ = std::chrono::system_clock::time_point::max();
  std::shared_ptr<Generation> generation_;  // the loop's thread only
  bool cancelled_ = false;                  // the loop's thread only

  std::mutex mutex_;
  std::deque<v1::GenerateResponse> queue_;  // front is being written
  bool writing_ = false;
  bool finishing_ = false;  // Finish follows the queue
  bool finished_ = false;   // Finish was called
  grpc::Status status_;
};

}  // namespace slipstream
