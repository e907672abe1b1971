// The gRPC front over a real channel: Generate, cancel, deadlines, errors, health.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <sstream>

#include "base/log.h"
#include "slipstream/v1/inference.grpc.pb.h"
#include "tests/server/raw_call.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

class Grpc : public Wire {
 protected:
  Grpc() { config_.grpc_port = -1; }

  void Connect() {
    StartServer();
    channel_ = grpc::CreateChannel(fmt::format("127.0.0.1:{}", server_->grpc_port()),
                                   grpc::InsecureChannelCredentials());
    stub_ = v1::Inference::NewStub(channel_);
  }

  struct Answer {
    grpc::Status status;
    std::vector<v1::GenerateResponse> messages;
    std::string text(int index = 0) const {
      std::string text;
      for (const auto& m : messages) text += m.index() == index ? m.text() : "";
      return text;
    }
    std::vector<int32_t> ids() const {
      std::vector<int32_t> ids;
      for (const auto& m : messages)
        ids.insert(ids.end(), m.token_ids().begin(), m.token_ids().end());
      return ids;
    }
  };

  Answer Generate(const v1::GenerateRequest& request, const std::string& key = "") {
    grpc::ClientContext context;
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    auto reader = stub_->Generate(&context, request);
    Answer answer;
    v1::GenerateResponse message;
    while (reader->Read(&message)) answer.messages.push_back(message);
    answer.status = reader->Finish();
    return answer;
  }

  static v1::GenerateRequest Text(const std::string& text) {
    v1::GenerateRequest request;
    request.set_text(text);
    return request;
  }

  static constexpr const char* kServing = "\x08\x01";
  static constexpr const char* kNotServing = "\x08\x02";

  // Asks the standard health service: the request is field 1, the service's name, and the answer is
  // field 1, the status.
  std::string Probe(const std::string& name) {
    std::string bytes;
    if (!name.empty()) bytes = std::string{'\n', static_cast<char>(name.size())} + name;
    std::string answer;
    const grpc::Status status = RawCall(channel_, "/grpc.health.v1.Health/Check", bytes, &answer);
    return status.ok() ? answer : status.error_message();
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

TEST_F(Grpc, GenerateFromText) {
  Connect();
  const Answer a = Generate(Text("Hi"));
  ASSERT_TRUE(a.status.ok()) << a.status.error_message();
  EXPECT_EQ(a.text(), "Hello world");
  EXPECT_EQ(a.ids().size(), 3u);
  EXPECT_EQ(a.messages.back().usage().prompt_tokens(), 3);
  EXPECT_EQ(a.messages.back().usage().completion_tokens(), 3);
  const auto& last = a.messages[a.messages.size() - 2];
  EXPECT_EQ(last.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(last.stop_token_id(), *tokenizer_->eos_id());
}

TEST_F(Grpc, GenerateFromTokenIds) {
  SayForever("abc");
  Connect();
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids('x');
  request.set_n(2);
  request.mutable_sampling()->set_max_tokens(4);
  request.mutable_sampling()->set_num_logprobs(2);
  const Answer a = Generate(request);
  ASSERT_TRUE(a.status.ok()) << a.status.error_message();
  EXPECT_EQ(a.text(0), "abca");
  EXPECT_EQ(a.text(1), "abca");
  EXPECT_EQ(a.messages[0].logprobs(0).top_size(), 2);
  EXPECT_EQ(a.messages.back().usage().completion_tokens(), 8);
}

TEST_F(Grpc, StopStrings) {
  SayForever("Hello STOP here");
  Connect();
  v1::GenerateRequest request = Text("x");
  request.add_stop("TOP h");
  const Answer a = Generate(request);
  EXPECT_EQ(a.text(), "Hello S");
  EXPECT_EQ(a.messages[a.messages.size() - 2].stop_string(), "TOP h");
}

TEST_F(Grpc, StructuredOutput) {
  Say("Hello, no");
  Connect();
  v1::GenerateRequest request = Text("x");
  request.mutable_structured_output()->set_regex("[0-9]{3}");
  EXPECT_EQ(Generate(request).text().size(), 3u);
  auto* choice = request.mutable_structured_output()->mutable_choice();
  choice->add_texts("only \"this\"");
  const Answer a = Generate(request);
  EXPECT_EQ(a.text(), "only \"this\"");
  EXPECT_EQ(a.messages[a.messages.size() - 2].finish_reason(), v1::FINISH_REASON_STOP);
  request.mutable_structured_output()->set_json_schema(R"({"const":[1,true]})");
  EXPECT_EQ(nlohmann::json::parse(Generate(request).text()), nlohmann::json({1, true}));
  request.mutable_structured_output()->set_grammar("root ::= none");
  const grpc::Status bad = Generate(request).status;
  EXPECT_EQ(bad.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(bad.error_details(), "structured_output.grammar");
  request.mutable_structured_output()->clear_kind();
  EXPECT_EQ(Generate(request).status.error_details(), "structured_output");
}

TEST_F(Grpc, Errors) {
  config_.api_keys = {"secret"};
  Connect();
  EXPECT_EQ(Generate(Text("x")).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Generate(Text("x"), "secret").status.ok());
  v1::GenerateRequest empty;
  EXPECT_EQ(Generate(empty, "secret").status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::GenerateRequest other = Text("x");
  other.set_model("gpt-9");
  EXPECT_EQ(Generate(other, "secret").status.error_code(), grpc::StatusCode::NOT_FOUND);
  v1::GenerateRequest hot = Text("x");
  hot.mutable_sampling()->set_temperature(-1);
  EXPECT_EQ(Generate(hot, "secret").status.error_details(), "temperature");
  const grpc::Status overflow = Generate(Text(std::string(600, 'x')), "secret").status;
  EXPECT_NE(overflow.error_message().find("512"), std::string::npos);
  EXPECT_EQ(overflow.error_details(), "prompt");
}

// Refused or not, whatever does the work.
TEST_F(Grpc, EveryCallLeavesALineInTheLog) {
  config_.log_requests = true;
  InitLog(LogLevel::kInfo, LogFormat::kJson);
  ::testing::internal::CaptureStderr();
  Connect();
  const auto call = [&](auto method, auto request, auto response) {
    grpc::ClientContext context;
    context.AddMetadata("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    return (stub_.get()->*method)(&context, request, &response).ok();
  };
  v1::TokenizeRequest text;
  text.set_text("abc");
  EXPECT_TRUE(call(&v1::Inference::Stub::Tokenize, text, v1::TokenizeResponse()));
  text.set_model("gpt-9");
  EXPECT_FALSE(call(&v1::Inference::Stub::Tokenize, text, v1::TokenizeResponse()));
  v1::DetokenizeRequest ids;
  ids.add_token_ids(-1);
  EXPECT_FALSE(call(&v1::Inference::Stub::Detokenize, ids, v1::DetokenizeResponse()));
  EXPECT_FALSE(Generate({}).status.ok());
  EXPECT_FALSE(call(&v1::Inference::Stub::Embed, v1::EmbedRequest(), v1::EmbedResponse()));
  StopServer();
  std::istringstream lines(::testing::internal::GetCapturedStderr());
  InitLog(LogLevel::kInfo, LogFormat::kText);
  std::map<std::string, int> seen;
  std::string line;
  while (std::getline(lines, line)) {
    const json entry = json::parse(line, nullptr, false);
    if (!entry.is_object() || entry["message"] != "request") continue;
    ++seen[fmt::format("{} {}", entry["method"].get<std::string>(), entry["status"].get<int>())];
    EXPECT_TRUE(entry["request_id"].get<std::string>().starts_with("grpc-")) << line;
    EXPECT_EQ(entry.contains("error"), entry["status"] != 0) << line;
    EXPECT_EQ(entry.contains("trace_id"), entry["method"] != "Generate") << line;
  }
  const std::map<std::string, int> expected = {
      {"Tokenize 0", 1}, {"Tokenize 5", 1}, {"Detokenize 3", 1}, {"Generate 3", 1}, {"Embed 3", 1}};
  EXPECT_EQ(seen, expected);
}

TEST_F(Grpc, CancelAndDeadlineFreeBlocks) {
  SayForever("abc");
  model_->HoldAfter(5);  // an answer that is over cannot be cancelled
  Connect();
  {
    grpc::ClientContext context;
    auto reader = stub_->Generate(&context, Text("x"));
    v1::GenerateResponse message;
    ASSERT_TRUE(reader->Read(&message));
    context.TryCancel();
    while (reader->Read(&message)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
  model_->Hold();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  auto reader = stub_->Generate(&context, Text("x"));
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(Grpc, HealthAndModelInfo) {
  Connect();
  grpc::ClientContext first, second;
  v1::HealthResponse health;
  ASSERT_TRUE(stub_->Health(&first, {}, &health).ok());
  EXPECT_TRUE(health.healthy());
  EXPECT_TRUE(health.ready());
  v1::GetModelInfoResponse info;
  ASSERT_TRUE(stub_->GetModelInfo(&second, {}, &info).ok());
  EXPECT_EQ(info.name(), "tiny");
  EXPECT_EQ(info.max_model_len(), kMaxModelLen);
  server_->BeginDrain(10);
  grpc::ClientContext third;
  ASSERT_TRUE(stub_->Health(&third, {}, &health).ok());
  EXPECT_TRUE(health.healthy());
  EXPECT_FALSE(health.ready());
  EXPECT_EQ(Generate(Text("x")).status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(Grpc, ProbesFindTheServiceByName) {
  Connect();
  EXPECT_EQ(Probe(""), kServing);
  EXPECT_EQ(Probe(v1::Inference::service_full_name()), kServing);
}

TEST_F(Grpc, ProbesHearOfADrain) {
  Connect();
  server_->BeginDrain(10);
  EXPECT_EQ(Probe(""), kNotServing);
  EXPECT_EQ(Probe(v1::Inference::service_full_name()), kNotServing);
}

TEST_F(Grpc, ProbesHearOfALostEngine) {
  Connect();
  EXPECT_EQ(Ask("GET", "/health").status, 200);
  model_->lost = true;  // nobody asks for anything
  EXPECT_TRUE(Eventually([&] { return Probe(v1::Inference::service_full_name()) == kNotServing; }));
  EXPECT_EQ(Probe(""), kNotServing);
  EXPECT_EQ(Ask("GET", "/health").status, 503);
  EXPECT_EQ(Ask("GET", "/ready").status, 503);
  EXPECT_EQ(Generate(Text("x")).status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(Grpc, LoadTellsWhatWaits) {
  SayForever("abc");
  Connect();
  const auto load = [&] {
    grpc::ClientContext context;
    v1::GetLoadResponse response;
    EXPECT_TRUE(stub_->GetLoad(&context, {}, &response).ok());
    return response;
  };
  EXPECT_EQ(load().kv_blocks_total(), kNumBlocks);
  EXPECT_EQ(load().open_requests(), 0);
  model_->Hold();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Text("x"));
  EXPECT_TRUE(Eventually([&] { return load().open_requests() == 1; }));
  EXPECT_TRUE(Eventually([&] { return load().queued_tokens() == 2; }));
  EXPECT_EQ(load().queued_requests(), 1);
  model_->HoldAfter(5);
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(load().queued_requests(), 0);
  context.TryCancel();
  while (reader->Read(&message)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_TRUE(Eventually([&] { return load().open_requests() == 0; }));
  model_->Release();
  server_->BeginDrain(10);
  EXPECT_TRUE(load().draining());
}

TEST_F(Grpc, EveryAnswerIsCountedByMethodAndCode) {
  Connect();
  const auto counted = [&](const std::string& method, const char* code) {
    const auto sample =
        fmt::format("{{model_name=\"tiny\",method=\"{}\",code=\"{}\"}} 1\n", method, code);
    return Ask("GET", "/metrics").body.find("slipstream_grpc_responses_total" + sample) !=
           std::string::npos;
  };
  const std::string ours = "slipstream.v1.Inference/";
  ASSERT_TRUE(Generate(Text("x")).status.ok());
  ASSERT_FALSE(Generate({}).status.ok());
  const auto call = [&](auto method, auto request, auto response) {
    grpc::ClientContext context;
    (stub_.get()->*method)(&context, request, &response);
  };
  using Stub = v1::Inference::Stub;
  call(&Stub::Embed, v1::EmbedRequest(), v1::EmbedResponse());  // without an input
  call(&Stub::Tokenize, v1::TokenizeRequest(), v1::TokenizeResponse());
  call(&Stub::Detokenize, v1::DetokenizeRequest(), v1::DetokenizeResponse());
  call(&Stub::GetModelInfo, v1::GetModelInfoRequest(), v1::GetModelInfoResponse());
  call(&Stub::GetLoad, v1::GetLoadRequest(), v1::GetLoadResponse());
  call(&Stub::Health, v1::HealthRequest(), v1::HealthResponse());
  Probe("");
  EXPECT_TRUE(counted(ours + "Generate", "OK"));
  EXPECT_TRUE(counted(ours + "Generate", "INVALID_ARGUMENT"));
  EXPECT_TRUE(counted(ours + "Embed", "INVALID_ARGUMENT"));
  for (const char* method : {"Tokenize", "Detokenize", "GetModelInfo", "GetLoad", "Health"}) {
    EXPECT_TRUE(counted(ours + method, "OK")) << method;
  }
  EXPECT_TRUE(counted("grpc.health.v1.Health/Check", "OK"));
  model_->Hold();
  // A call that is over before it gets to the server is nothing to count.
  for (int ms = 50; ms < 60'000 && !engine_->metrics().has_work; ms *= 2) {
    grpc::ClientContext late;
    late.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(ms));
    ASSERT_FALSE(stub_->Generate(&late, Text("x"))->Finish().ok());
  }
  EXPECT_TRUE(Eventually([&] { return counted(ours + "Generate", "DEADLINE_EXCEEDED"); }));
  model_->Release();
}

// grpc.reflection.v1alpha: field 7 of the request asks for all services, field 6 of the answer
// lists them by name.
TEST_F(Grpc, ReflectionListsTheServices) {
  config_.api_keys = {"secret"};
  Connect();
  const std::string bytes("\x3a\x01*", 3);
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(this);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  call->Write(request, this);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer answer;
  call->Read(&answer, this);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::Slice got;
  ASSERT_TRUE(answer.DumpToSingleSlice(&got).ok());
  const std::string text(got.begin(), got.end());
  EXPECT_NE(text.find(v1::Inference::service_full_name()), std::string::npos);
  EXPECT_NE(text.find("grpc.health.v1.Health"), std::string::npos);
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, this);
  queue.Next(&tag, &ok);
}

TEST_F(Grpc, PortInUseIsAClearError) {
  Connect();
  ServerConfig config = config_;
  config.grpc_port = server_->grpc_port();
  const auto second = Server::Start(config, {}, tokenizer_, nullptr, *engine_);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("gRPC cannot listen on"), std::string::npos);
}

TEST_F(Grpc, StopEndsOpenCalls) {
  SayForever("abc");
  model_->HoldAfter(5);
  Connect();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Text("x"));
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  server_->Stop();
  while (reader->Read(&message)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
}

}  // namespace
}  // namespace slipstream::testing
