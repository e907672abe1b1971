// HTTP itself: limits, framing, targets, connections.
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

TEST_F(Wire, HttpBodyOverTheLimit) {
  config_.max_body_bytes = 1000;
  StartServer();
  WireClient client(port());
  // Larger than socket buffers: the refusal must reach a client that is still sending.
  const WireResponse r = client.Ask("POST", "/v1/completions", std::string(8 << 20, ' '));
  EXPECT_EQ(r.status, 413);
  EXPECT_EQ(r.headers.at("connection"), "close");
  WireClient chunked(port());
  chunked.Send("POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
  chunked.Send("7d0\r\n" + std::string(2000, ' ') + "\r\n0\r\n\r\n");
  EXPECT_EQ(chunked.Read().status, 413);
}

TEST_F(Wire, HttpEmptyChunkedBodyInPieces) {
  StartServer();
  WireClient client(port());
  client.Send("POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
  for (const char* piece : {"0\r\n", "\r", "\n"}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // so that each is read alone
    client.Send(piece);
  }
  EXPECT_EQ(client.Read().status, 400);  // the body is not JSON
  EXPECT_EQ(Ask("GET", "/health").status, 200);
}

TEST_F(Wire, HttpHeaderOverTheLimit) {
  config_.max_header_bytes = 2000;
  StartServer();
  EXPECT_EQ(Ask("GET", "/health", "", "x-long: " + std::string(4000, 'a') + "\r\n").status, 431);
  WireClient client(port());
  client.Send("GET /health HTTP/1.1\r\nhost: x\r\n");
  for (int i = 0; i < 15; ++i) {  // lines that are read one by one
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    client.Send("x-line: " + std::string(200, 'a') + "\r\n");
  }
  EXPECT_EQ(client.Read().status, 431);
}

TEST_F(Wire, HttpExpectContinue) {
  StartServer();
  WireClient client(port());
  const std::string body = R"({"prompt":"x"})";
  client.Send(
      fmt::format("POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
                  "content-type: application/json\r\ncontent-length: {}\r\n\r\n",
                  body.size()));
  ASSERT_TRUE(client.WaitFor("100 Continue\r\n\r\n"));
  client.Send(body);
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(Wire, HttpGarbageIs400) {
  StartServer();
  for (const char* text : {"hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
                           "POST /v1/completions HTTP/1.1\r\ncontent-length: -5\r\n\r\n"}) {
    WireClient client(port());
    client.Send(text);
    const WireResponse r = client.Read();
    EXPECT_EQ(r.status, 400) << text;
    EXPECT_TRUE(client.AtEnd());
  }
}

TEST_F(Wire, HttpAbsoluteFormOfATarget) {
  StartServer();
  for (const char* target :
       {"http://host/version", "HTTP://host:80/version?x=/y", "https://user@host/version"}) {
    EXPECT_EQ(Ask("GET", target).status, 200) << target;
  }
  // Without a path the target is "/", where the page is.
  for (const char* target : {"http://host", "http://host?x=/version"}) {
    EXPECT_EQ(Ask("GET", target).headers["content-type"], "text/html; charset=utf-8") << target;
  }
  EXPECT_EQ(Ask("GET", "ftp://host/version").status, 404);
}

// Base URLs are written with and without a slash at their end, and for llama.cpp without /v1.
TEST_F(Wire, HttpPathsAsClientsMakeThem) {
  config_.api_keys = {"secret"};
  StartServer();
  const std::string key = "authorization: Bearer secret\r\n";
  const std::string chat = ChatBody().dump();
  for (const char* path :
       {"/v1/chat/completions/", "/chat/completions", "/v1/chat/completions?x"}) {
    EXPECT_EQ(Ask("POST", path, chat, key).status, 200) << path;
    EXPECT_EQ(Ask("POST", path, chat).status, 401) << path;
  }
  EXPECT_EQ(Ask("GET", "/models", "", key).json()["data"][0]["id"], "tiny");
  EXPECT_EQ(Ask("GET", "/models/small", "", key).json()["id"], "small");
  EXPECT_EQ(Ask("GET", "/v1/models/", "", key).json()["object"], "list");
  EXPECT_EQ(Ask("GET", "/health/").status, 200);
  EXPECT_EQ(Ask("GET", "/chat/completions", "", key).status, 405);
  for (const char* path : {"/v1", "/v1/v1/models", "/v1/health", "/models/other"}) {
    EXPECT_EQ(Ask("GET", path, "", key).status, 404) << path;
  }
}

TEST_F(Wire, HttpEmptyLinesBeforeARequestLine) {
  StartServer();
  WireClient client(port());
  for (const char* lines : {"\r\n", "\r\n\r\n", ""}) {
    client.Send(lines);
    EXPECT_EQ(client.Ask("GET", "/version").status, 200);
  }
  client.Send("\r");
  EXPECT_EQ(Ask("GET", "/version").status, 200);  // the half line has had time to arrive
  client.Send("\n");
  EXPECT_EQ(client.Ask("GET", "/version").status, 200);
  client.Send("\rGET /version HTTP/1.1\r\n\r\n");
  EXPECT_EQ(client.Read().status, 400);
}

TEST_F(Wire, HttpTransferCodingsButChunkedAre501) {
  StartServer();
  for (const char* codings :
       {"transfer-encoding: gzip, chunked", "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip", "transfer-encoding: chunked, chunked"}) {
    WireClient client(port());
    client.Send(fmt::format("POST /v1/completions HTTP/1.1\r\nhost: x\r\n{}\r\n\r\n", codings));
    client.Send("e\r\n{\"prompt\":\"x\"}\r\n0\r\n\r\n");
    const WireResponse r = client.Read();
    EXPECT_EQ(r.status, 501) << codings;
    ExpectErrorShape(r);
    const std::string named =
        std::string(codings).find("gzip") != std::string::npos ? "gzip" : "chunked";
    EXPECT_NE(r.body.find(named), std::string::npos) << r.body;
    EXPECT_TRUE(client.AtEnd()) << codings;
  }
  WireClient client(port());
  client.Send("POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n");
  client.Send("e\r\n{\"prompt\":\"x\"}\r\n0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(Wire, HttpKeepAliveAndPipelining) {
  StartServer();
  WireClient client(port());
  std::string requests;
  for (int i = 0; i < 20; ++i) {
    requests += WireClient::Format("POST", "/v1/completions",
                                   json{{"prompt", "x"}, {"stream", i % 2 == 0}}.dump());
    requests += WireClient::Format("GET", "/version");
  }
  client.Send(requests);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(client.Read().status, 200) << i;
    EXPECT_TRUE(client.Read().json().contains("version"));
  }
  client.Send("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(Wire, HttpHeadAndHttp10) {
  StartServer();
  EXPECT_EQ(Ask("HEAD", "/health").status, 200);
  WireClient old(port());
  const std::string body = R"({"prompt":"x","stream":true})";
  old.Send(fmt::format("POST /v1/completions HTTP/1.0\r\ncontent-length: {}\r\n\r\n{}", body.size(),
                       body));
  const WireResponse r = old.Read();
  EXPECT_FALSE(r.headers.contains("transfer-encoding"));
  EXPECT_TRUE(r.body.ends_with("data: [DONE]\n\n"));
}

TEST_F(Wire, HttpTooManyConnections) {
  config_.max_connections = 2;
  StartServer();
  WireClient first(port()), second(port());
  EXPECT_EQ(first.Ask("GET", "/health").status, 200);
  EXPECT_EQ(second.Ask("GET", "/health").status, 200);
  WireClient third(port());
  EXPECT_EQ(third.Read().status, 503);
  first.Close();
  EXPECT_TRUE(Eventually([&] { return Ask("GET", "/health").status == 200; }));
}

TEST_F(Wire, W46_OptionsHealthAndMetricsNeedNoKey) {
  config_.cors = true;
  config_.api_keys = {"secret"};
  StartServer();
  const WireResponse r = Ask("OPTIONS", "/v1/chat/completions");
  EXPECT_EQ(r.status, 204);
  EXPECT_EQ(r.headers.at("access-control-allow-origin"), "*");
  EXPECT_EQ(Ask("GET", "/health").status, 200);
  EXPECT_EQ(Ask("GET", "/metrics").status, 200);
  EXPECT_EQ(Ask("GET", "/v1/models").status, 401);
}

}  // namespace
}  // namespace slipstream::testing
