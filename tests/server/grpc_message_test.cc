// Messages that are no messages, and such that ask for too much: one clear status each, and nothing
// on stderr but lines of the log.
#include <grpcpp/grpcpp.h>

#include "base/log.h"
#include "slipstream/v1/inference.grpc.pb.h"
#include "tests/server/raw_call.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

class GrpcMessage : public Wire {
 protected:
  GrpcMessage() { config_.grpc_port = -1; }

  grpc::Status Send(const std::string& method, const std::string& bytes) {
    const auto channel = grpc::CreateChannel(fmt::format("127.0.0.1:{}", server_->grpc_port()),
                                             grpc::InsecureChannelCredentials());
    std::string answer;
    return RawCall(channel, "/slipstream.v1.Inference/" + method, bytes, &answer);
  }
};

TEST_F(GrpcMessage, WhatCannotBeReadIsCalledThat) {
  StartServer();
  InitLog(LogLevel::kInfo, LogFormat::kJson);
  ::testing::internal::CaptureStderr();
  const std::string garbage(100, '\xFF');
  const std::string no_utf8 = "\x1A\x02\xFF\xFE";  // field 3, the text
  for (const char* method : {"Generate", "Tokenize", "Detokenize", "Embed"}) {
    const grpc::Status status = Send(method, garbage);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_NE(status.error_message().find("not one of this method"), std::string::npos) << method;
  }
  EXPECT_EQ(Send("Generate", no_utf8).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Send("Nonsense", "").error_code(), grpc::StatusCode::UNIMPLEMENTED);
  StopServer();
  std::istringstream text(::testing::internal::GetCapturedStderr());
  InitLog(LogLevel::kInfo, LogFormat::kText);
  for (std::string line; std::getline(text, line);) {
    EXPECT_TRUE(json::parse(line, nullptr, false).is_object()) << line;
  }
}

TEST_F(GrpcMessage, BoundsAreThoseOfHttp) {
  StartServer();
  const auto generate = [&](const v1::GenerateRequest& request) {
    return Send("Generate", request.SerializeAsString());
  };
  v1::GenerateRequest many;
  many.set_text("x");
  for (int i = 0; i < 65; ++i) many.add_stop("s");
  EXPECT_EQ(generate(many).error_message(), "stop has 65 strings, the most is 64");
  v1::GenerateRequest lengthy;
  lengthy.set_text("x");
  lengthy.add_stop(std::string(1025, 's'));
  EXPECT_EQ(generate(lengthy).error_message(), "stop is longer than 1024 bytes");
  v1::GenerateRequest tiny;
  tiny.set_text("x");
  tiny.mutable_sampling()->set_repetition_penalty(1e-45f);
  EXPECT_EQ(generate(tiny).error_details(), "repetition_penalty");
}

}  // namespace
}  // namespace slipstream::testing
