// W42 of the wire contract, slow readers, health, drain and start errors.
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

constexpr const char* kChat = "/v1/chat/completions";

class Disconnects : public Wire {
 protected:
  void SetUp() override {
    max_model_len_ = 4096;
    SayForever("abc");
    StartServer();
  }
  // The client leaves while a step is held, so that the answer cannot end first.
  void LeaveDuringAStep(WireClient* client) {
    client->Close();
    EXPECT_TRUE(
        Eventually([&] { return PageHas("client_disconnects_total{model_name=\"tiny\"} 1\n"); }));
    model_->Release();
    EXPECT_TRUE(BlocksComeBack());
  }
};

TEST_F(Disconnects, W42_BeforeTheFirstToken) {
  model_->Hold();
  for (const bool stream : {true, false}) {
    WireClient client(port());
    client.Send(WireClient::Format("POST", kChat, ChatBody({{"stream", stream}}).dump()));
    EXPECT_TRUE(Eventually([&] { return engine_->metrics().has_work.load(); }));
    client.Close();
  }
  EXPECT_TRUE(
      Eventually([&] { return PageHas("client_disconnects_total{model_name=\"tiny\"} 2\n"); }));
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(Disconnects, W42_InMidStream) {
  model_->HoldAfter(20);
  WireClient client(port());
  client.Send(WireClient::Format("POST", kChat, ChatBody({{"stream", true}}).dump()));
  ASSERT_TRUE(client.WaitFor("\"content\":\"c\""));
  EXPECT_GT(engine_->metrics().kv_blocks_used.value(), 0);
  LeaveDuringAStep(&client);
  EXPECT_EQ(engine_->metrics().finished_abort_total.value(), 1u);
}

TEST_F(Disconnects, W42_WithoutStreaming) {
  model_->Hold();
  WireClient client(port());
  client.Send(WireClient::Format("POST", kChat, ChatBody().dump()));
  ASSERT_TRUE(HoldWhenRunning(1));
  LeaveDuringAStep(&client);
  EXPECT_EQ(engine_->metrics().finished_abort_total.value(), 1u);
}

TEST_F(Disconnects, W42_ManyChoicesAndPrompts) {
  model_->Hold();
  WireClient client(port());
  client.Send(WireClient::Format(
      "POST", "/v1/completions",
      json{{"prompt", {"one", "two"}}, {"n", 3}, {"max_tokens", 4000}, {"stream", true}}.dump()));
  ASSERT_TRUE(HoldWhenRunning(6));
  LeaveDuringAStep(&client);
  EXPECT_EQ(engine_->metrics().finished_abort_total.value(), 6u);
}

TEST_F(Disconnects, W42_HalfOfManyClientsLeave) {
  model_->HoldAfter(20);
  std::vector<std::unique_ptr<WireClient>> clients;
  for (int i = 0; i < 40; ++i) {
    clients.push_back(std::make_unique<WireClient>(port()));
    clients.back()->Send(WireClient::Format(
        "POST", "/v1/completions",
        json{{"prompt", "x"}, {"max_tokens", 40}, {"stream", i % 4 < 2}}.dump()));
  }
  for (int i = 0; i < 40; i += 2) clients[i]->Close();
  model_->Release();
  for (int i = 1; i < 40; i += 2) {
    const WireResponse r = clients[i]->Read();
    EXPECT_EQ(r.status, 200);
    EXPECT_TRUE(r.complete);
  }
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(Wire, W42_SlowReaderIsCutOff) {
  SayForever("abcdefgh");
  model_->HoldAfter(200);  // an answer that is all there is not a backlog
  config_.max_pending_bytes = 16 << 10;
  StartServer();
  WireClient client(port(), 4096);
  // More than the socket buffers of both sides hold, and the client reads nothing.
  client.Send(WireClient::Format(
      "POST", "/v1/completions",
      json{{"prompt", "x"}, {"n", 16}, {"max_tokens", 500}, {"stream", true}, {"logprobs", 20}}
          .dump()));
  EXPECT_TRUE(Eventually([&] {
    return Ask("GET", "/metrics").body.find("slow_clients_total{model_name=\"tiny\"} 1") !=
           std::string::npos;
  }));
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
  EXPECT_EQ(Complete({{"prompt", "x"}, {"max_tokens", 3}}).status, 200);
}

TEST_F(Wire, W42_ClientThatTakesNothingTimesOut) {
  SayForever("abcdefgh");
  config_.write_timeout_seconds = 0.1;
  config_.max_pending_bytes = 64 << 20;
  StartServer();
  WireClient client(port(), 4096);
  client.Send(WireClient::Format(
      "POST", "/v1/completions",
      json{{"prompt", "x"}, {"n", 16}, {"max_tokens", 500}, {"stream", true}, {"logprobs", 20}}
          .dump()));
  EXPECT_TRUE(Eventually([&] {
    return Ask("GET", "/metrics").body.find("slow_clients_total{model_name=\"tiny\"} 1") !=
           std::string::npos;
  }));
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(Wire, IncompleteRequestsTimeOut) {
  config_.header_timeout_seconds = 0.1;
  config_.body_timeout_seconds = 0.1;
  config_.idle_timeout_seconds = 0.1;
  StartServer();
  WireClient idle(port()), header(port()), body(port());
  header.Send("POST /v1/completions HTTP/1.1\r\nhost:");
  body.Send("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{");
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_TRUE(header.AtEnd());
  EXPECT_TRUE(body.AtEnd());
}

TEST_F(Wire, HealthTellsOfAStuckEngine) {
  config_.stalled_engine_seconds = 0.05;
  StartServer();
  EXPECT_EQ(Ask("GET", "/health").status, 200);
  EXPECT_EQ(Ask("GET", "/ready").status, 200);
  model_->Hold();
  WireClient client(port());
  client.Send(WireClient::Format("POST", kChat, ChatBody().dump()));
  EXPECT_TRUE(Eventually([&] { return Ask("GET", "/health").status == 503; }));
  EXPECT_EQ(Ask("GET", "/ready").status, 503);
  model_->Release();
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_TRUE(Eventually([&] { return Ask("GET", "/health").status == 200; }));
}

TEST_F(Wire, DrainLetsRequestsFinish) {
  SayForever("ab");
  model_->HoldAfter(5);  // it goes on when the drain has begun
  StartServer();
  WireClient client(port()), fresh(port()), idle(port());
  EXPECT_EQ(idle.Ask("GET", "/health").status, 200);
  client.Send(
      WireClient::Format("POST", kChat, ChatBody({{"stream", true}, {"max_tokens", 100}}).dump()));
  ASSERT_TRUE(client.WaitFor("\"content\":\"b\""));
  server_->BeginDrain(60);
  EXPECT_TRUE(idle.AtEnd());                          // between two requests: closed at once
  EXPECT_EQ(fresh.Ask("GET", "/ready").status, 503);  // it may have been sent before
  EXPECT_TRUE(fresh.AtEnd());
  EXPECT_EQ(Ask("GET", "/ready").status, 503);
  EXPECT_EQ(Ask("GET", "/health").status, 200);
  const WireResponse refused = Chat(ChatBody());
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  model_->Release();
  server_->Wait();
  const WireResponse r = client.Read();
  EXPECT_EQ(StreamedText(Events(r.body)).size(), 100u);
  EXPECT_EQ(Events(r.body).back(), "[DONE]");
}

TEST_F(Wire, DrainAbortsAfterTheGrace) {
  SayForever("ab");
  model_->HoldAfter(5);  // it will not finish
  StartServer();
  WireClient client(port()), whole(port());
  client.Send(WireClient::Format("POST", kChat, ChatBody({{"stream", true}}).dump()));
  ASSERT_TRUE(client.WaitFor("\"content\":\"b\""));
  whole.Send(WireClient::Format("POST", kChat, ChatBody().dump()));
  ASSERT_TRUE(Eventually([&] {
    return Ask("GET", "/metrics").body.find("open_requests{model_name=\"tiny\"} 2") !=
           std::string::npos;
  }));
  server_->BeginDrain(0.05);
  server_->Wait();
  const auto events = Events(client.Read().body);
  EXPECT_TRUE(events[events.size() - 2].contains("error"));
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_EQ(whole.Read().status, 503);
}

TEST_F(Wire, StopWithOpenRequests) {
  max_model_len_ = 4096;
  SayForever("ab");
  model_->Hold();
  StartServer();
  std::vector<std::unique_ptr<WireClient>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<WireClient>(port()));
    clients.back()->Send(WireClient::Format("POST", kChat, ChatBody({{"stream", i < 4}}).dump()));
  }
  ASSERT_TRUE(HoldWhenRunning(4));
  server_->Stop();
  server_.reset();  // before the engine: its last events find nobody, and nothing breaks
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
}

// One thread accepts for all: a connection may still be on its way to another when that one stops.
TEST_F(Wire, StopWhileClientsConnect) {
  for (int round = 0; round < 60; ++round) {
    StartServer();
    std::atomic<bool> begun{false};
    std::vector<std::unique_ptr<WireClient>> clients;  // they say nothing and do not leave
    std::thread crowd([&, at = port()] {
      while (clients.size() < 100 && (clients.empty() || clients.back()->connected())) {
        clients.push_back(std::make_unique<WireClient>(at));
        begun = true;
      }
    });
    while (!begun) std::this_thread::yield();
    StopServer();
    crowd.join();
  }
}

TEST_F(Wire, PortInUseIsAClearError) {
  StartServer();
  ServerConfig config = config_;
  config.port = port();
  const auto second = Server::Start(config, {}, tokenizer_, nullptr, *engine_);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find(fmt::format("127.0.0.1:{}", port())), std::string::npos);
  EXPECT_NE(second.error().message.find("in use"), std::string::npos);
  config.host = "no.such.host.invalid";
  config.port = 0;
  EXPECT_FALSE(Server::Start(config, {}, tokenizer_, nullptr, *engine_));
}

TEST_F(Wire, TemplateErrorsAreTheClients) {
  template_source_ = "{{ raise_exception('roles must alternate') }}";
  StartServer();
  const WireResponse r = Chat(ChatBody({{"stream", true}}));
  EXPECT_EQ(r.status, 400);
  EXPECT_NE(r.error()["message"].get<std::string>().find("roles must alternate"),
            std::string::npos);
}

TEST_F(Wire, ManyClientsAtOnce) {
  StartServer();
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      WireClient client(port());
      for (int i = 0; i < 25; ++i) {
        const WireResponse r =
            client.Ask("POST", kChat, ChatBody({{"stream", i % 2 == 0}, {"n", 2}}).dump());
        if (r.status != 200 || !r.complete) continue;
        good += i % 2 == 0 ? StreamedText(Events(r.body), 1) == "Hello world"
                           : r.json()["choices"][1]["message"]["content"] == "Hello world";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 200);
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(Wire, ALostDeviceEndsOpenStreams) {
  SayForever("abc");
  model_->HoldAfter(5);
  StartServer();
  WireClient client(port());
  client.Send(WireClient::Format("POST", "/v1/completions",
                                 R"({"prompt":"x","stream":true,"max_tokens":400})"));
  ASSERT_TRUE(client.WaitFor("data: "));
  model_->lost = true;
  model_->Release();
  const std::vector<json> events = Events(client.Read().body);
  ASSERT_GE(events.size(), 2u);
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_EQ(events[events.size() - 2]["error"]["message"], "the device is lost");
  EXPECT_TRUE(Eventually([&] { return Ask("GET", "/health").status == 503; }));
  EXPECT_EQ(Complete({{"prompt", "x"}}).status, 503);
}

}  // namespace
}  // namespace slipstream::testing
