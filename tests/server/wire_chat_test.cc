// W1 to W15 of the wire contract: framing, chunks and stop strings of a stream.
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

TEST_F(Wire, W01_EventStreamFraming) {
  StartServer();
  const WireResponse r = Chat(ChatBody({{"stream", true}}));
  EXPECT_EQ(r.status, 200);
  EXPECT_TRUE(r.headers.at("content-type").starts_with("text/event-stream"));
  EXPECT_EQ(r.body.find('\r'), std::string::npos);
  for (const json& event : Events(r.body)) {
    EXPECT_TRUE(event.is_object() || event == "[DONE]") << event;
  }
  EXPECT_EQ(StreamedText(Events(r.body)), "Hello world");
}

TEST_F(Wire, W02_DoneEndsStreamAndBody) {
  StartServer();
  WireClient client(port());
  for (int i = 0; i < 3; ++i) {  // the connection goes on after each stream
    const WireResponse r =
        client.Ask("POST", "/v1/chat/completions", ChatBody({{"stream", true}}).dump());
    EXPECT_TRUE(r.complete);
    EXPECT_TRUE(r.body.ends_with("\n\ndata: [DONE]\n\n")) << r.body;
    EXPECT_EQ(r.headers.at("connection"), "keep-alive");
  }
}

TEST_F(Wire, W03_OneByteAtATime) {
  Say("h\xC3\xA9llo \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80!");
  StartServer();
  WireClient client(port());
  client.ReadIn(1);
  const WireResponse r =
      client.Ask("POST", "/v1/chat/completions", ChatBody({{"stream", true}}).dump());
  EXPECT_TRUE(r.complete);
  const auto events = Events(r.body);
  EXPECT_EQ(StreamedText(events), "h\xC3\xA9llo \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80!");
  EXPECT_EQ(events.back(), "[DONE]");
}

TEST_F(Wire, W03_RequestSentOneByteAtATime) {
  StartServer();
  WireClient client(port());
  const std::string request = WireClient::Format("POST", "/v1/chat/completions", ChatBody().dump());
  for (const char c : request) ASSERT_TRUE(client.Send(std::string_view(&c, 1)));
  const WireResponse r = client.Read();
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.json()["choices"][0]["message"]["content"], "Hello world");
}

TEST_F(Wire, W04_KeepAliveCommentsInSilentStreams) {
  config_.keep_alive_comment_seconds = 0.05;
  model_->Hold();
  StartServer();
  WireClient client(port());
  client.Send(
      WireClient::Format("POST", "/v1/chat/completions", ChatBody({{"stream", true}}).dump()));
  ASSERT_TRUE(client.WaitFor(": keep-alive\n\n"));  // in the queue, before any token
  EXPECT_EQ(client.raw().find("data:"), std::string::npos);
  model_->Release();
  const WireResponse r = client.Read();
  EXPECT_TRUE(r.complete);
  EXPECT_TRUE(r.body.starts_with(": keep-alive\n\n"));
  EXPECT_EQ(StreamedText(Events(r.body)), "Hello world");
}

TEST_F(Wire, W04_KeepAliveCommentsBetweenTokens) {
  config_.keep_alive_comment_seconds = 0.05;
  SayForever("a");
  model_->HoldAfter(5);
  StartServer();
  WireClient client(port());
  client.Send(WireClient::Format("POST", "/v1/chat/completions",
                                 ChatBody({{"stream", true}, {"max_tokens", 400}}).dump()));
  ASSERT_TRUE(client.WaitFor("\"content\":\"a\""));
  EXPECT_TRUE(client.WaitFor(": keep-alive\n\n"));
  model_->Release();
  EXPECT_TRUE(client.Read().complete);
}

TEST_F(Wire, W05_NoByteBeforeValidation) {
  StartServer();
  const WireResponse r = Chat(ChatBody({{"stream", true}, {"max_tokens", 100'000}}));
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(r.headers.at("content-type"), "application/json");
}

TEST_F(Wire, W05_EarlyEngineErrorIsAStatus) {
  model_->fail_after = 0;
  StartServer();
  const WireResponse r = Chat(ChatBody({{"stream", true}}));
  EXPECT_EQ(r.status, 500);
  EXPECT_FALSE(r.error().is_null());
}

TEST_F(Wire, W06_LateErrorIsAnEvent) {
  model_->fail_after = 3;
  SayForever("abc");
  StartServer();
  const WireResponse r = Chat(ChatBody({{"stream", true}}));
  EXPECT_EQ(r.status, 200);
  const auto events = Events(r.body);
  ASSERT_GE(events.size(), 3u);
  EXPECT_TRUE(events[events.size() - 2].contains("error")) << r.body;
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_TRUE(r.complete);
  EXPECT_EQ(Chat(ChatBody({{"max_tokens", 2}})).status, 200);  // the server goes on
}

TEST_F(Wire, W08_SameIdCreatedModelInEveryChunk) {
  StartServer();
  for (const char* path : {"/v1/chat/completions", "/v1/completions"}) {
    json body = ChatBody({{"stream", true}, {"model", "small"}});
    const bool chat = std::string(path) == "/v1/chat/completions";
    if (!chat) {
      body.erase("messages");
      body["prompt"] = "Hi";
    }
    const auto events = Events(Ask("POST", path, body.dump()).body);
    ASSERT_GT(events.size(), 2u);
    for (const json& event : events) {
      if (event == "[DONE]") continue;
      EXPECT_EQ(event["id"], events[0]["id"]);
      EXPECT_EQ(event["created"], events[0]["created"]);
      EXPECT_EQ(event["model"], "small");
      EXPECT_EQ(event["object"], chat ? "chat.completion.chunk" : "text_completion");
    }
  }
  EXPECT_EQ(Chat(ChatBody()).json()["object"], "chat.completion");
  EXPECT_EQ(Complete({{"prompt", "Hi"}}).json()["object"], "text_completion");
}

TEST_F(Wire, W09_RoleInFirstChunkOfEachIndexOnly) {
  StartServer();
  const auto events = Events(Chat(ChatBody({{"stream", true}, {"n", 3}})).body);
  std::map<int, int> chunks;
  for (const json& event : events) {
    if (event == "[DONE]") continue;
    const json& choice = event["choices"][0];
    if (chunks[choice["index"]]++ == 0) {
      EXPECT_EQ(choice["delta"]["role"], "assistant");
      EXPECT_EQ(choice["delta"]["content"], "");
    } else {
      EXPECT_FALSE(choice["delta"].contains("role"));
    }
  }
  EXPECT_EQ(chunks.size(), 3u);
}

TEST_F(Wire, W10_WholeCharactersOnly) {
  Say("\xF0\x9F\x98\x80x");  // four byte tokens make one character
  StartServer();
  const WireResponse r =
      Chat(ChatBody({{"stream", true}, {"stream_options", {{"include_usage", true}}}}));
  std::vector<std::string> pieces;
  json usage;
  for (const json& event : Events(r.body)) {
    ASSERT_FALSE(event.is_discarded());
    if (event == "[DONE]") continue;
    if (event["choices"].empty()) {
      usage = event["usage"];
      continue;
    }
    const std::string text = event["choices"][0]["delta"].value("content", "");
    if (!text.empty()) pieces.push_back(text);
  }
  EXPECT_EQ(pieces, (std::vector<std::string>{"\xF0\x9F\x98\x80", "x"}));
  EXPECT_EQ(usage["completion_tokens"], 6);  // four bytes, x, and the end token
}

TEST_F(Wire, W10_UnfinishedCharacterAtTheEnd) {
  Say("x\xF0\x9F");
  StartServer();
  EXPECT_EQ(StreamedText(Events(Chat(ChatBody({{"stream", true}})).body)), "x\xEF\xBF\xBD");
  EXPECT_EQ(Chat(ChatBody()).json()["choices"][0]["message"]["content"], "x\xEF\xBF\xBD");
}

TEST_F(Wire, W11_StopStringOverTokenBorders) {
  SayForever("Hello STOP here and on");
  StartServer();
  for (const bool stream : {true, false}) {
    const WireResponse r = Chat(ChatBody({{"stream", stream}, {"stop", {"nope", "TOP h"}}}));
    if (stream) {
      const auto events = Events(r.body);
      EXPECT_EQ(StreamedText(events), "Hello S");
      EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
      EXPECT_EQ(events[events.size() - 2]["choices"][0]["stop_reason"], "TOP h");
    } else {
      EXPECT_EQ(r.json()["choices"][0]["message"]["content"], "Hello S");
      EXPECT_EQ(r.json()["choices"][0]["finish_reason"], "stop");
    }
  }
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(Wire, W11_HeldBackTextIsShownWhenNoStopComes) {
  Say("ab</");
  StartServer();
  const auto events = Events(Chat(ChatBody({{"stream", true}, {"stop", "</stop>"}})).body);
  EXPECT_EQ(StreamedText(events), "ab</");
  // Held back until the end, so it comes with the last chunk.
  EXPECT_EQ(events[events.size() - 2]["choices"][0]["delta"]["content"], "</");
}

TEST_F(Wire, W11_IncludeStopString) {
  SayForever("ab</stop> and on");
  StartServer();
  const json body = ChatBody(
      {{"stop", "</stop>"}, {"include_stop_str_in_output", true}, {"stream_options", nullptr}});
  EXPECT_EQ(Chat(body).json()["choices"][0]["message"]["content"], "ab</stop>");
}

TEST_F(Wire, W11_StopTokenIds) {
  SayForever("abcd");
  StartServer();
  const json r = Chat(ChatBody({{"stop_token_ids", {'c'}}})).json();
  EXPECT_EQ(r["choices"][0]["message"]["content"], "ab");
  EXPECT_EQ(r["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(r["choices"][0]["stop_reason"], 'c');
  EXPECT_EQ(r["usage"]["completion_tokens"], 3);
}

TEST_F(Wire, W12_OneFinishReasonPerIndex) {
  // Choices end at different lengths: the seed of choice k is 7 + k.
  model_->script = [eos = *tokenizer_->eos_id()](uint64_t seed, int index) {
    return index < static_cast<int>(seed - 6) * 2 ? 'a' + index : eos;
  };
  StartServer();
  const auto events = Events(Chat(ChatBody({{"stream", true}, {"n", 4}, {"seed", 7}})).body);
  std::map<int, int> finishes;
  for (const json& event : events) {
    if (event == "[DONE]") continue;
    const json& choice = event["choices"][0];
    EXPECT_EQ(finishes[choice["index"]], 0) << "a chunk after the finish reason";
    if (!choice["finish_reason"].is_null()) ++finishes[choice["index"]];
  }
  EXPECT_EQ(finishes, (std::map<int, int>{{0, 1}, {1, 1}, {2, 1}, {3, 1}}));
  EXPECT_EQ(StreamedText(events, 0), "ab");
  EXPECT_EQ(StreamedText(events, 3), "abcdefgh");
}

TEST_F(Wire, W13_StopAndLength) {
  StartServer();
  EXPECT_EQ(Chat(ChatBody()).json()["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(Chat(ChatBody({{"max_tokens", 1}})).json()["choices"][0]["finish_reason"], "length");
}

}  // namespace
}  // namespace slipstream::testing
