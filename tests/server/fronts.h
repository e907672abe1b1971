// The HTTP and the gRPC front behind one interface, so that a test says once what both must do.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "slipstream/v1/inference.grpc.pb.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {

struct Call {
  std::optional<std::string> text;
  std::vector<int32_t> ids;  // the prompt where there is no text
  std::string model, key;
  int n = 1;
  std::optional<int> max_tokens;
  std::optional<double> temperature;
  std::vector<std::string> stop;
  std::optional<std::string> regex;
};

struct EmbedAsk {
  std::vector<std::string> texts;
  std::vector<int32_t> ids;  // one more input
  std::string model, pooling, key;
  std::optional<int> dimensions;
  std::optional<bool> normalize;
};

// What both fronts say, in the same words: codes are gRPC's.
struct Answer {
  int code = 0;
  std::string message, param;
  std::vector<std::string> texts;  // per choice
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::string> finish;
  std::vector<std::vector<double>> vectors;
  int64_t prompt_tokens = 0, completion_tokens = 0;
};

class Front {
 public:
  virtual ~Front() = default;
  virtual Answer Generate(const Call& call) = 0;
  virtual Answer Embed(const EmbedAsk& ask) = 0;
  virtual Answer Tokenize(const std::string& text, bool special) = 0;
  virtual Answer Detokenize(const std::vector<int32_t>& ids) = 0;
  // Starts an answer without an end, waits for its beginning, and leaves.
  virtual void LeaveInTheMiddle(const Call& call) = 0;
  // Asks for an embedding and gives up after `ms`.
  virtual void GiveUpOnEmbedding(int ms) = 0;
  // The code of an answer that may take no longer than `ms`.
  virtual int GenerateWithin(const Call& call, int ms) = 0;
  virtual bool Ready() = 0;
  virtual std::string ModelName() = 0;
};

class HttpFront final : public Front {
 public:
  explicit HttpFront(uint16_t port) : port_(port) {}

  Answer Generate(const Call& call) override {
    const WireResponse r = Ask("/v1/completions", BodyOf(call), call.key);
    Answer answer = ErrorOf(r);
    if (r.status != 200) return answer;
    const json body = r.json();
    for (const json& choice : body["choices"]) {
      answer.texts.push_back(choice["text"]);
      answer.ids.push_back(choice["token_ids"].get<std::vector<int32_t>>());
      answer.finish.push_back(choice["finish_reason"]);
    }
    ReadUsage(body, &answer);
    return answer;
  }

  Answer Embed(const EmbedAsk& ask) override {
    json body = {{"input", ask.texts}};
    if (!ask.ids.empty()) body["input"].push_back(ask.ids);
    if (!ask.model.empty()) body["model"] = ask.model;
    if (!ask.pooling.empty()) body["pooling"] = ask.pooling;
    if (ask.dimensions) body["dimensions"] = *ask.dimensions;
    if (ask.normalize) body["normalize"] = *ask.normalize;
    const WireResponse r = Ask("/v1/embeddings", body, ask.key);
    Answer answer = ErrorOf(r);
    if (r.status != 200) return answer;
    const json got = r.json();
    for (const json& item : got["data"]) answer.vectors.push_back(item["embedding"]);
    ReadUsage(got, &answer);
    return answer;
  }

  Answer Tokenize(const std::string& text, bool special) override {
    const WireResponse r =
        Ask("/tokenize", {{"prompt", text}, {"add_special_tokens", special}}, "");
    Answer answer = ErrorOf(r);
    if (r.status == 200) answer.ids.push_back(r.json()["tokens"]);
    return answer;
  }

  Answer Detokenize(const std::vector<int32_t>& ids) override {
    const WireResponse r = Ask("/detokenize", {{"tokens", ids}}, "");
    Answer answer = ErrorOf(r);
    if (r.status == 200) answer.texts.push_back(r.json()["prompt"]);
    return answer;
  }

  void LeaveInTheMiddle(const Call& call) override {
    json body = BodyOf(call);
    body["stream"] = true;
    WireClient client(port_);
    client.Send(WireClient::Format("POST", "/v1/completions", body.dump()));
    EXPECT_TRUE(client.WaitFor("data: "));
  }

  void GiveUpOnEmbedding(int ms) override {
    WireClient client(port_);
    client.Send(WireClient::Format("POST", "/v1/embeddings", R"({"input":["abc","def"]})"));
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  }

  int GenerateWithin(const Call& call, int ms) override {
    json body = BodyOf(call);
    body["timeout_seconds"] = ms * 1e-3;
    return ErrorOf(Ask("/v1/completions", body, "")).code;
  }

  bool Ready() override { return WireClient(port_).Ask("GET", "/ready").status == 200; }
  std::string ModelName() override {
    return WireClient(port_).Ask("GET", "/v1/models").json()["data"][0]["id"];
  }

 private:
  static json BodyOf(const Call& call) {
    json body = {{"return_token_ids", true}, {"n", call.n}};
    if (call.text) body["prompt"] = *call.text;
    if (!call.ids.empty()) body["prompt"] = call.ids;
    if (!call.model.empty()) body["model"] = call.model;
    // The completions of OpenAI stop after 16 tokens; gRPC's go on.
    body["max_tokens"] = call.max_tokens.value_or(200);
    if (call.temperature) body["temperature"] = *call.temperature;
    if (!call.stop.empty()) body["stop"] = call.stop;
    if (call.regex) body["guided_regex"] = *call.regex;
    return body;
  }

  WireResponse Ask(const std::string& path, const json& body, const std::string& key) const {
    WireClient client(port_);
    return client.Ask("POST", path, body.dump(),
                      key.empty() ? "" : "authorization: Bearer " + key + "\r\n");
  }

  static Answer ErrorOf(const WireResponse& r) {
    Answer answer;
    if (r.status == 200) return answer;
    const std::map<int, int> codes = {{400, 3},  {401, 16}, {404, 5}, {429, 8},
                                      {500, 13}, {503, 14}, {504, 4}};
    answer.code = codes.contains(r.status) ? codes.at(r.status) : -r.status;
    answer.message = r.error().value("message", "");
    if (r.error()["param"].is_string()) answer.param = r.error()["param"];
    return answer;
  }

  static void ReadUsage(const json& body, Answer* answer) {
    answer->prompt_tokens = body["usage"]["prompt_tokens"];
    answer->completion_tokens = body["usage"].value("completion_tokens", 0);
  }

  const uint16_t port_;
};

class GrpcFront final : public Front {
 public:
  explicit GrpcFront(uint16_t port)
      : stub_(v1::Inference::NewStub(grpc::CreateChannel(fmt::format("127.0.0.1:{}", port),
                                                         grpc::InsecureChannelCredentials()))) {}

  Answer Generate(const Call& call) override {
    grpc::ClientContext context;
    AddKey(call.key, &context);
    return Read(&context, call);
  }

  Answer Embed(const EmbedAsk& ask) override {
    v1::EmbedRequest request;
    for (const std::string& text : ask.texts) request.add_inputs()->set_text(text);
    if (!ask.ids.empty()) {
      request.add_inputs()->mutable_token_ids()->mutable_ids()->Add(ask.ids.begin(), ask.ids.end());
    }
    request.set_model(ask.model);
    if (ask.pooling == "last") request.set_pooling(v1::POOLING_LAST);
    if (ask.pooling == "mean") request.set_pooling(v1::POOLING_MEAN);
    if (ask.dimensions) request.set_dimensions(*ask.dimensions);
    if (ask.normalize) request.set_normalize(*ask.normalize);
    grpc::ClientContext context;
    AddKey(ask.key, &context);
    v1::EmbedResponse response;
    Answer answer = StatusOf(stub_->Embed(&context, request, &response));
    for (const v1::Embedding& e : response.embeddings()) {
      answer.vectors.emplace_back(e.values().begin(), e.values().end());
    }
    answer.prompt_tokens = response.usage().prompt_tokens();
    return answer;
  }

  Answer Tokenize(const std::string& text, bool special) override {
    v1::TokenizeRequest request;
    request.set_text(text);
    request.set_add_special_tokens(special);
    grpc::ClientContext context;
    v1::TokenizeResponse response;
    Answer answer = StatusOf(stub_->Tokenize(&context, request, &response));
    answer.ids.emplace_back(response.token_ids().begin(), response.token_ids().end());
    return answer;
  }

  Answer Detokenize(const std::vector<int32_t>& ids) override {
    v1::DetokenizeRequest request;
    request.mutable_token_ids()->Add(ids.begin(), ids.end());
    grpc::ClientContext context;
    v1::DetokenizeResponse response;
    Answer answer = StatusOf(stub_->Detokenize(&context, request, &response));
    answer.texts.push_back(response.text());
    // HTTP calls the field "tokens".
    if (answer.param == "token_ids") answer.param = "tokens";
    return answer;
  }

  void LeaveInTheMiddle(const Call& call) override {
    grpc::ClientContext context;
    auto reader = stub_->Generate(&context, RequestOf(call));
    v1::GenerateResponse message;
    EXPECT_TRUE(reader->Read(&message));
    context.TryCancel();
    while (reader->Read(&message)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }

  void GiveUpOnEmbedding(int ms) override {
    v1::EmbedRequest request;
    request.add_inputs()->set_text("abc");
    request.add_inputs()->set_text("def");
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(ms));
    v1::EmbedResponse response;
    EXPECT_EQ(stub_->Embed(&context, request, &response).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
  }

  int GenerateWithin(const Call& call, int ms) override {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(ms));
    return Read(&context, call).code;
  }

  bool Ready() override {
    grpc::ClientContext context;
    v1::HealthResponse response;
    return stub_->Health(&context, {}, &response).ok() && response.ready();
  }
  std::string ModelName() override {
    grpc::ClientContext context;
    v1::GetModelInfoResponse response;
    return stub_->GetModelInfo(&context, {}, &response).ok() ? response.name() : "";
  }

 private:
  static void AddKey(const std::string& key, grpc::ClientContext* context) {
    if (!key.empty()) context->AddMetadata("authorization", "Bearer " + key);
  }

  static v1::GenerateRequest RequestOf(const Call& call) {
    v1::GenerateRequest request;
    if (call.text) request.set_text(*call.text);
    if (!call.ids.empty()) {
      request.mutable_token_ids()->mutable_ids()->Add(call.ids.begin(), call.ids.end());
    }
    request.set_model(call.model);
    request.set_n(call.n);
    if (call.max_tokens) request.mutable_sampling()->set_max_tokens(*call.max_tokens);
    if (call.temperature) {
      request.mutable_sampling()->set_temperature(static_cast<float>(*call.temperature));
    }
    for (const std::string& stop : call.stop) request.add_stop(stop);
    if (call.regex) request.mutable_structured_output()->set_regex(*call.regex);
    return request;
  }

  Answer Read(grpc::ClientContext* context, const Call& call) {
    auto reader = stub_->Generate(context, RequestOf(call));
    Answer answer;
    const size_t n = static_cast<size_t>(std::max(call.n, 0));
    answer.texts.resize(n), answer.ids.resize(n), answer.finish.resize(n);
    v1::GenerateResponse message;
    while (reader->Read(&message)) {
      const auto k = static_cast<size_t>(message.index());
      answer.texts[k] += message.text();
      answer.ids[k].insert(answer.ids[k].end(), message.token_ids().begin(),
                           message.token_ids().end());
      if (message.finish_reason() == v1::FINISH_REASON_STOP) answer.finish[k] = "stop";
      if (message.finish_reason() == v1::FINISH_REASON_LENGTH) answer.finish[k] = "length";
      answer.prompt_tokens = message.usage().prompt_tokens();
      answer.completion_tokens = message.usage().completion_tokens();
    }
    const Answer status = StatusOf(reader->Finish());
    answer.code = status.code;
    answer.message = status.message;
    answer.param = status.param;
    return answer;
  }

  static Answer StatusOf(const grpc::Status& status) {
    Answer answer;
    answer.code = static_cast<int>(status.error_code());
    answer.message = status.error_message();
    answer.param = status.error_details();
    if (answer.param == "inputs") answer.param = "input";  // as HTTP calls it
    return answer;
  }

  std::unique_ptr<v1::Inference::Stub> stub_;
};

}  // namespace slipstream::testing
