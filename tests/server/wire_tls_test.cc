// HTTPS over real sockets: everything that the plain wire does, the certificate, its reload.
#include <filesystem>
#include <fstream>

#include "tests/server/wire_tls_fixture.h"

namespace slipstream::testing {
namespace {

TEST_F(WireTls, AnswersAndStreamsOnOneConnection) {
  StartServer();
  const auto client = Connect();
  const WireResponse whole = client->Ask("POST", "/v1/chat/completions", ChatBody().dump());
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.json()["choices"][0]["message"]["content"], "Hello world");
  for (int i = 0; i < 3; ++i) {
    const WireResponse r =
        client->Ask("POST", "/v1/chat/completions", ChatBody({{"stream", true}}).dump());
    EXPECT_EQ(r.status, 200);
    EXPECT_TRUE(r.complete);
    EXPECT_EQ(StreamedText(Events(r.body)), "Hello world");
  }
  EXPECT_EQ(client->Ask("GET", "/health").status, 200);
}

TEST_F(WireTls, ALargeBodyAndALargeAnswer) {
  SayForever("0123456789");
  StartServer();
  const auto client = Connect();
  json body = {{"prompt", "x"}, {"max_tokens", 400}, {"n", 8}, {"stream", true}};
  body["ignored"] = std::string(3'000'000, 'y');
  const WireResponse r = client->Ask("POST", "/v1/completions", body.dump());
  EXPECT_EQ(r.status, 200);
  EXPECT_TRUE(r.complete);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(StreamedText(Events(r.body), i).size(), 400u) << i;
}

TEST_F(WireTls, ADisconnectCancels) {
  SayForever("la ");
  model_->HoldAfter(5);
  StartServer();
  auto client = Connect();
  client->Send(WireClient::Format("POST", "/v1/completions",
                                  R"({"prompt":"x","max_tokens":500,"stream":true})"));
  ASSERT_TRUE(client->WaitFor("data: "));
  client.reset();
  EXPECT_TRUE(Eventually([&] {
    return Connect()
               ->Ask("GET", "/metrics")
               .body.find("client_disconnects_total{model_name=\"tiny\"} 1\n") != std::string::npos;
  }));
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(WireTls, TheEndIsToldAndNotCutOff) {
  StartServer();
  const auto client = Connect();
  const WireResponse r = client->Ask("GET", "/health", "", "connection: close\r\n");
  EXPECT_EQ(r.status, 200);
  EXPECT_TRUE(client->AtEnd());
  EXPECT_TRUE(client->closed_properly()) << "no close_notify";
}

TEST_F(WireTls, PlainHttpIsToldAndClosed) {
  StartServer();
  WireClient plain(port());
  const WireResponse r = plain.Ask("POST", "/v1/completions", R"({"prompt":"x"})");
  EXPECT_EQ(r.status, 400);
  ExpectErrorShape(r);
  EXPECT_EQ(r.error()["code"], "tls_required");
  EXPECT_EQ(r.headers.at("connection"), "close");
  EXPECT_TRUE(plain.AtEnd());
}

TEST_F(WireTls, HalfAHandshakeHoldsNothing) {
  config_.header_timeout_seconds = 0.1;
  StartServer();
  WireClient silent(port()), half(port()), garbage(port());
  half.Send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  garbage.Send(std::string("\x16") + std::string(100, 'x'));
  EXPECT_TRUE(silent.AtEnd());
  EXPECT_TRUE(half.AtEnd());
  garbage.WaitFor("never");  // an alert may come, then the end
  // The limit is one of this client too, which may not get the time for its part of the handshake.
  EXPECT_TRUE(Eventually([&] {
    WireClient client(port());
    return client.Secure() && client.Ask("GET", "/health").status == 200;
  }));
}

TEST_F(WireTls, ReloadIsForNewConnectionsAndDropsNone) {
  SayForever("la ");
  model_->step_us = 1000;
  StartServer();
  const auto old = Connect();
  EXPECT_EQ(old->peer_serial(), 1);
  old->Send(WireClient::Format("POST", "/v1/completions",
                               R"({"prompt":"x","max_tokens":200,"stream":true})"));
  ASSERT_TRUE(old->WaitFor("data: "));
  ASSERT_TRUE(WriteCertificate(config_.tls_cert, config_.tls_key, 2));
  ASSERT_TRUE(server_->Reload());
  EXPECT_EQ(Connect()->peer_serial(), 2);
  const WireResponse r = old->Read();
  EXPECT_TRUE(r.complete);
  EXPECT_EQ(StreamedText(Events(r.body)).size(), 200u);
  EXPECT_EQ(old->Ask("GET", "/health").status, 200);
  // A key that does not fit, or no file: the certificate in use stays.
  ASSERT_TRUE(WriteCertificate(config_.tls_cert, config_.tls_key + ".other", 3));
  const Status mixed = server_->Reload();
  ASSERT_FALSE(mixed);
  EXPECT_EQ(mixed.error().param, "tls_key");
  std::filesystem::remove(config_.tls_key + ".other");
  std::filesystem::remove(config_.tls_cert);
  const Status missing = server_->Reload();
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().param, "tls_cert");
  EXPECT_EQ(Connect()->peer_serial(), 2);
}

TEST_F(WireTls, OldProtocolsAreRefused) {
  StartServer();
  WireClient client(port());
  EXPECT_FALSE(client.Secure(TLS1_1_VERSION));
  EXPECT_EQ(Connect()->Ask("GET", "/health").status, 200);
}

}  // namespace
}  // namespace slipstream::testing
