#include "server/grpc/response_count.h"

#include <string_view>

namespace slipstream {
namespace {

using grpc::experimental::InterceptionHookPoints;

class CountedCall final : public grpc::experimental::Interceptor {
 public:
  CountedCall(GrpcMethodResponses& responses, bool ours) : responses_(responses), ours_(ours) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      if (ours_ && IsUnreadable(methods->GetSendStatus())) {
        methods->ModifySendStatus(
            {grpc::StatusCode::INVALID_ARGUMENT,
             "the message is not one of this method, or a text in it is not UTF-8"});
      }
      responses_.Of(methods->GetSendStatus().error_code()).Add();
    }
    methods->Proceed();
  }

 private:
  // gRPC's answer to a message that does not parse; ours have words.
  static bool IsUnreadable(const grpc::Status& status) {
    return status.error_code() == grpc::StatusCode::UNIMPLEMENTED && status.error_message().empty();
  }

  GrpcMethodResponses& responses_;
  const bool ours_;  // a method of this server, not of gRPC's health or reflection
};

class ResponseCount final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit ResponseCount(ServerMetrics& metrics) : metrics_(metrics) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    std::string_view method = info->method();
    if (method.starts_with('/')) method.remove_prefix(1);
    GrpcMethodResponses& responses = metrics_.GrpcResponsesOf(method);
    // Not those that clients make up.
    const bool known = &responses != &metrics_.grpc_responses.back();
    return new CountedCall(responses, known && method.starts_with("slipstream.v1.Inference/"));
  }

 private:
  ServerMetrics& metrics_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeResponseCount(
    ServerMetrics& metrics) {
  return std::make_unique<ResponseCount>(metrics);
}

}  // namespace slipstream
