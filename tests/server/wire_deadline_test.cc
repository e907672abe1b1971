// Requests that run out of time, and the queue that is bounded by tokens.
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

class WireDeadline : public Wire {
 protected:
  WireResponse Timed(json body, const std::string& seconds) {
    body["prompt"] = "x";
    return Ask("POST", "/v1/completions", body.dump(), "x-request-timeout: " + seconds + "\r\n");
  }
  void ExpectTimeout(const WireResponse& r) {
    EXPECT_EQ(r.status, 504) << r.body;
    ExpectErrorShape(r);
    EXPECT_EQ(r.error()["type"], "timeout_error");
    EXPECT_EQ(r.error()["code"], "timeout");
  }
  bool Counted(int n) {
    return Ask("GET", "/metrics")
               .body.find(fmt::format("deadlines_exceeded_total{{model_name=\"tiny\"}} {}\n", n)) !=
           std::string::npos;
  }
};

TEST_F(WireDeadline, AStatusBeforeTheFirstByte) {
  // The step in hand never ends by itself: the server, not the engine, keeps the time.
  model_->Hold();
  StartServer();
  for (const bool stream : {false, true}) ExpectTimeout(Timed({{"stream", stream}}, "0.05"));
  EXPECT_TRUE(Counted(2));
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
  EXPECT_EQ(Timed({{"max_tokens", 2}}, "600").status, 200);
}

TEST_F(WireDeadline, ALastEventAfterIt) {
  SayForever("la ");
  StartServer();
  // The answer begins and cannot end. It must begin in time: a machine that is too slow for that
  // gets more of it.
  WireResponse r;
  int num_tries = 0;
  for (double seconds = 0.2; num_tries == 0 || (r.status == 504 && seconds < 60); seconds *= 2) {
    ++num_tries;
    model_->HoldAfter(10);
    r = Timed({{"stream", true}, {"max_tokens", 500}}, fmt::format("{}", seconds));
  }
  model_->Release();
  EXPECT_EQ(r.status, 200);
  EXPECT_TRUE(r.complete);
  const std::vector<json> events = Events(r.body);
  ASSERT_GE(events.size(), 3u) << r.body;
  EXPECT_EQ(events.back(), "[DONE]");
  const json& last = events[events.size() - 2];
  ASSERT_TRUE(last.contains("error")) << last;
  EXPECT_EQ(last["error"]["code"], "timeout");
  EXPECT_TRUE(BlocksComeBack());
  EXPECT_TRUE(Counted(num_tries));
}

TEST_F(WireDeadline, TheServersOwnIsTheMost) {
  config_.request_timeout_seconds = 0.05;
  model_->Hold();
  StartServer();
  ExpectTimeout(Complete({{"prompt", "x"}}));
  ExpectTimeout(Timed({}, "3600"));
}

TEST_F(WireDeadline, TheBodysFieldWorksToo) {
  model_->Hold();
  StartServer();
  ExpectTimeout(Complete({{"prompt", "x"}, {"timeout_seconds", 0.05}}));
  ExpectTimeout(Chat(ChatBody({{"timeout_seconds", 0.05}})));
  EXPECT_EQ(Complete({{"prompt", "x"}, {"timeout_seconds", 0}}).error()["param"],
            "timeout_seconds");
}

TEST_F(WireDeadline, ANumberOrARefusal) {
  StartServer();
  for (const char* wrong : {"soon", "0", "-1", "1e9"}) {
    const WireResponse r = Timed({}, wrong);
    EXPECT_EQ(r.status, 400) << wrong;
    EXPECT_EQ(r.error()["param"], "x-request-timeout");
  }
}

TEST_F(Wire, QueueIsBoundedByTokens) {
  config_.max_queued_tokens = 20;
  model_->Hold();
  StartServer();
  const auto queued = [&](int tokens) {
    return Eventually([&] {
      return Ask("GET", "/metrics")
                 .body.find(fmt::format("queued_tokens{{model_name=\"tiny\"}} {}\n", tokens)) !=
             std::string::npos;
    });
  };
  const auto prompt = [](int tokens) {
    return json{{"prompt", std::vector<int>(static_cast<size_t>(tokens), 'x')}, {"max_tokens", 2}};
  };
  // Alone, even one that is larger than the queue gets in.
  WireClient first(port());
  first.Send(WireClient::Format("POST", "/v1/completions", prompt(30).dump()));
  ASSERT_TRUE(queued(30));
  const WireResponse r = Complete(prompt(1));
  EXPECT_EQ(r.status, 429);
  ExpectErrorShape(r);
  EXPECT_TRUE(r.headers.contains("retry-after"));
  // A client that leaves gives its room back.
  first.Close();
  ASSERT_TRUE(queued(0));
  WireClient second(port()), third(port());
  second.Send(WireClient::Format("POST", "/v1/completions", prompt(12).dump()));
  ASSERT_TRUE(queued(12));
  third.Send(WireClient::Format("POST", "/v1/completions", prompt(8).dump()));
  ASSERT_TRUE(queued(20));
  EXPECT_EQ(Complete(prompt(1)).status, 429);
  model_->Release();
  EXPECT_EQ(second.Read().status, 200);
  EXPECT_EQ(third.Read().status, 200);
  ASSERT_TRUE(queued(0));
  EXPECT_EQ(Complete(prompt(1)).status, 200);
}

}  // namespace
}  // namespace slipstream::testing
