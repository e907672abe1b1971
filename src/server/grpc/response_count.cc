#include "server/grpc/response_count.h"

#include <string_view>

namespace slipstream {
namespace {

using grpc::experimental::InterceptionHookPoints;

class CountedCall final : public grpc::experimental::Interceptor {
 public:
  explicit CountedCall(GrpcMethodResponses& responses) : responses_(responses) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      responses_.Of(methods->GetSendStatus().error_code()).Add();
    }
    methods->Proceed();
  }

 private:
  GrpcMethodResponses& responses_;
};

class ResponseCount final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit ResponseCount(ServerMetrics& metrics) : metrics_(metrics) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    std::string_view method = info->method();
    if (method.starts_with('/')) method.remove_prefix(1);
    return new CountedCall(metrics_.GrpcResponsesOf(method));
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
