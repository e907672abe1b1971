// The line that every request leaves in the log.
#include <sstream>

#include "base/log.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

class WireLog : public Wire {
 protected:
  WireLog() {
    config_.log_requests = true;
    InitLog(LogLevel::kInfo, LogFormat::kJson);
    ::testing::internal::CaptureStderr();
  }
  ~WireLog() override {
    if (capturing_) ::testing::internal::GetCapturedStderr();
    InitLog(LogLevel::kInfo, LogFormat::kText);
  }

  // What was logged of requests; the server has stopped, so it is all there is. A line is written
  // when the answer has left, so those of two connections come in any order.
  std::vector<json> Lines() {
    StopServer();
    capturing_ = false;
    std::istringstream text(::testing::internal::GetCapturedStderr());
    std::vector<json> lines;
    std::string line;
    while (std::getline(text, line)) {
      json parsed = json::parse(line, nullptr, false);
      EXPECT_TRUE(parsed.is_object()) << line;
      if (parsed.is_object() && parsed["message"] == "request") lines.push_back(std::move(parsed));
    }
    return lines;
  }

  static constexpr const char* kTrace = "0af7651916cd43dd8448eb211c80319c";
  bool capturing_ = true;
};

TEST_F(WireLog, AnAnswerWithItsNumbers) {
  config_.api_keys = {"secret"};
  StartServer();
  for (const bool stream : {false, true}) {
    const WireResponse r = Ask(
        "POST", "/v1/chat/completions", ChatBody({{"stream", stream}, {"max_tokens", 2}}).dump(),
        "x-request-id: mine\r\nauthorization: Bearer secret\r\ntraceparent: 00-" +
            std::string(kTrace) + "-b7ad6b7169203331-01\r\n");
    EXPECT_EQ(r.status, 200);
  }
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  for (const json& line : lines) {
    EXPECT_EQ(line["level"], "info");
    EXPECT_EQ(line["request_id"], "mine");
    EXPECT_EQ(line["trace_id"], kTrace);
    EXPECT_EQ(line["key"], "key-1");
    EXPECT_EQ(line["method"], "POST");
    EXPECT_EQ(line["path"], "/v1/chat/completions");
    EXPECT_EQ(line["status"], 200);
    EXPECT_EQ(line["completion_tokens"], 2);
    EXPECT_GT(line["prompt_tokens"], 1);
    EXPECT_EQ(line["cached_tokens"], 0);
    EXPECT_EQ(line["finish"], "length");
    EXPECT_FALSE(line.contains("error"));
    EXPECT_GT(line["ttft_seconds"], 0.0);
    EXPECT_GE(line["duration_seconds"], line["ttft_seconds"]);
    EXPECT_EQ(line.dump().find("secret"), std::string::npos);
  }
}

TEST_F(WireLog, RefusalsAndOddNames) {
  StartServer();
  EXPECT_EQ(Ask("POST", "/v1/completions", "{", "x-request-id: a\"b\\c\r\n").status, 400);
  EXPECT_EQ(
      Ask("GET", "/no\xC3where", "", "traceparent: 00-zz\r\nx-request-id: two words\r\n").status,
      404);
  EXPECT_EQ(Ask("GET", "/health").status, 200);  // probes would drown the rest
  std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  if (lines[0]["status"] == 404) std::swap(lines[0], lines[1]);
  EXPECT_EQ(lines[0]["request_id"], "a\"b\\c");
  EXPECT_EQ(lines[0]["status"], 400);
  EXPECT_FALSE(lines[0].contains("completion_tokens"));
  EXPECT_EQ(lines[1]["status"], 404);
  EXPECT_FALSE(lines[1].contains("trace_id"));
  EXPECT_TRUE(lines[1]["request_id"].get<std::string>().starts_with("req-"));
}

TEST_F(WireLog, AClientThatLeft) {
  SayForever("la ");
  model_->HoldAfter(5);  // the answer does not end before the client leaves
  StartServer();
  {
    WireClient client(port());
    client.Send(WireClient::Format("POST", "/v1/completions",
                                   R"({"prompt":"x","max_tokens":400,"stream":true})"));
    ASSERT_TRUE(client.WaitFor("data: "));
  }
  ASSERT_TRUE(Eventually([&] {
    return Ask("GET", "/metrics").body.find("client_disconnects_total{model_name=\"tiny\"} 1\n") !=
           std::string::npos;
  }));
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["status"], 499);
  EXPECT_EQ(lines[0]["finish"], "abort");
  EXPECT_EQ(lines[0]["error"], "the client left");
  EXPECT_GT(lines[0]["completion_tokens"], 0);
}

TEST_F(WireLog, CanBeTurnedOff) {
  config_.log_requests = false;
  StartServer();
  EXPECT_EQ(Complete({{"prompt", "x"}}).status, 200);
  EXPECT_TRUE(Lines().empty());
}

}  // namespace
}  // namespace slipstream::testing
