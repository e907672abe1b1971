// Keys of a file and their limits, over real sockets.
#include <filesystem>
#include <fstream>

#include "server/api_keys.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

constexpr int64_t kSecond = 1'000'000;

class WireKeys : public Wire {
 protected:
  WireKeys() {
    path_ = TempPath("keys.json");
    config_.api_keys_file = path_;
  }
  ~WireKeys() override { std::filesystem::remove(path_); }

  void Write(const json& keys) { std::ofstream(path_) << json{{"keys", keys}}.dump(); }
  WireResponse With(const std::string& key) {
    return Ask("POST", "/v1/completions", R"({"prompt":"x","max_tokens":2})",
               "authorization: Bearer " + key + "\r\n");
  }

  std::string path_;
};

TEST_F(WireKeys, NamesAreLabelsAndKeysAreNot) {
  // printf beta-secret | sha256sum
  Write({{{"name", "alpha"}, {"key", "alpha-secret"}},
         {{"name", "beta"},
          {"sha256", "d40ab4efae8afe82f0fda0f0fc785ff61bec7b5f329c6070c453594397e03568"}}});
  StartServer();
  EXPECT_EQ(With("alpha-secret").status, 200);
  EXPECT_EQ(With("alpha-secreT").status, 401);
  EXPECT_EQ(With("beta-secret").status, 200);
  EXPECT_EQ(With("").status, 401);
  ExpectErrorShape(Ask("POST", "/v1/completions", "{}"));
  EXPECT_TRUE(PageHas("slipstream_key_requests_total{model_name=\"tiny\",key=\"alpha\"} 1\n"));
  EXPECT_TRUE(PageHas("slipstream_key_prompt_tokens_total{model_name=\"tiny\",key=\"alpha\"} 2\n"));
  EXPECT_TRUE(
      PageHas("slipstream_key_generation_tokens_total{model_name=\"tiny\",key=\"alpha\"} 2\n"));
  EXPECT_TRUE(PageHas("key=\"beta\"} 1\n"));
  EXPECT_EQ(Ask("GET", "/metrics").body.find("secret"), std::string::npos);
}

TEST_F(WireKeys, ReloadTakesNewKeysAndDropsOldOnes) {
  Write({{{"name", "a"}, {"key", "one"}}});
  StartServer();
  EXPECT_EQ(With("one").status, 200);
  // Both work while a key is replaced, and count as one.
  Write({{{"name", "a"}, {"key", "one"}}, {{"name", "a"}, {"key", "two"}}});
  ASSERT_TRUE(server_->Reload());
  EXPECT_EQ(With("one").status, 200);
  EXPECT_EQ(With("two").status, 200);
  EXPECT_TRUE(PageHas("slipstream_key_requests_total{model_name=\"tiny\",key=\"a\"} 3\n"));
  Write({{{"name", "a"}, {"key", "two"}}});
  ASSERT_TRUE(server_->Reload());
  EXPECT_EQ(With("one").status, 401);
  EXPECT_EQ(With("two").status, 200);
}

TEST_F(WireKeys, ABadFileChangesNothing) {
  Write({{{"name", "a"}, {"key", "one"}}});
  StartServer();
  for (const char* text :
       {"", "{", "[]", "{\"keys\":[]}", "{\"keys\":[{\"name\":\"a\"}]}",
        "{\"keys\":[{\"key\":\"k\"}]}", "{\"keys\":[{\"name\":\"a b\",\"key\":\"k\"}]}",
        "{\"keys\":[{\"name\":\"a\",\"key\":\"k\",\"sha256\":\"00\"}]}",
        "{\"keys\":[{\"name\":\"a\",\"key\":\"k\",\"limit\":1}]}",
        "{\"keys\":[{\"name\":\"a\",\"key\":\"k\",\"max_concurrent\":-1}]}",
        "{\"keys\":[{\"name\":\"a\",\"key\":\"k\"},{\"name\":\"b\",\"key\":\"k\"}]}"}) {
    std::ofstream(path_) << text;
    const Status reloaded = server_->Reload();
    ASSERT_FALSE(reloaded) << text;
    EXPECT_NE(reloaded.error().message.find(path_), std::string::npos);
    EXPECT_EQ(With("one").status, 200) << text;
  }
  std::filesystem::remove(path_);
  EXPECT_FALSE(server_->Reload());
  EXPECT_EQ(With("one").status, 200);
  StopServer();
  // At the start there is nothing to fall back on.
  EXPECT_FALSE(ApiKeys::Open({}, path_));
}

TEST_F(WireKeys, RequestsPerMinute) {
  Write({{{"name", "slow"}, {"key", "slow"}, {"requests_per_minute", 2}},
         {{"name", "free"}, {"key", "free"}}});
  StartServer();
  EXPECT_EQ(With("slow").status, 200);
  EXPECT_EQ(With("slow").status, 200);
  const WireResponse r = With("slow");
  EXPECT_EQ(r.status, 429);
  ExpectErrorShape(r);
  EXPECT_EQ(r.error()["code"], "rate_limit_exceeded");
  EXPECT_GE(std::stoi(r.headers.at("retry-after")), 1);
  EXPECT_LE(std::stoi(r.headers.at("retry-after")), 30);
  EXPECT_EQ(With("free").status, 200) << "one key's limit is not another's";
  EXPECT_TRUE(
      PageHas("slipstream_key_rejections_total{model_name=\"tiny\",key=\"slow\",reason="
              "\"requests\"} 1\n"));
  EXPECT_TRUE(PageHas("reason=\"key_limit\"} 1\n"));
  // Looking is free.
  EXPECT_EQ(Ask("GET", "/v1/models", "", "authorization: Bearer slow\r\n").status, 200);
}

TEST_F(WireKeys, TokensPerMinute) {
  Write({{{"name", "a"}, {"key", "a"}, {"tokens_per_minute", 3}}});
  StartServer();
  EXPECT_EQ(With("a").status, 200);  // 2 + 2 tokens: known when they were used
  const WireResponse r = With("a");
  EXPECT_EQ(r.status, 429);
  EXPECT_GT(std::stoi(r.headers.at("retry-after")), 1);
  EXPECT_TRUE(PageHas("key=\"a\",reason=\"tokens\"} 1\n"));
}

TEST_F(WireKeys, RequestsAtOnce) {
  Write({{{"name", "a"}, {"key", "a"}, {"max_concurrent", 1}}});
  model_->Hold();
  StartServer();
  WireClient first(port());
  first.Send(WireClient::Format("POST", "/v1/completions", R"({"prompt":"x"})",
                                "authorization: Bearer a\r\n"));
  ASSERT_TRUE(
      Eventually([&] { return PageHas("slipstream_open_requests{model_name=\"tiny\"} 1\n"); }));
  EXPECT_EQ(With("a").status, 429);
  model_->Release();
  EXPECT_EQ(first.Read().status, 200);
  EXPECT_EQ(With("a").status, 200);
  // A client that leaves gives its place back too, and so does one whose request is wrong.
  model_->Hold();
  WireClient leaver(port());
  leaver.Send(WireClient::Format("POST", "/v1/completions", R"({"prompt":"x"})",
                                 "authorization: Bearer a\r\n"));
  ASSERT_TRUE(
      Eventually([&] { return PageHas("slipstream_open_requests{model_name=\"tiny\"} 1\n"); }));
  leaver.Close();
  ASSERT_TRUE(
      Eventually([&] { return PageHas("slipstream_open_requests{model_name=\"tiny\"} 0\n"); }));
  EXPECT_EQ(Ask("POST", "/v1/completions", "{}", "authorization: Bearer a\r\n").status, 400);
  model_->Release();
  EXPECT_EQ(With("a").status, 200);
}

TEST(KeyAccount, CreditComesBackWithTime) {
  KeyAccount account("a");
  account.SetLimits({.requests_per_minute = 6});
  int64_t now = 100 * kSecond;
  for (int i = 0; i < 6; ++i) EXPECT_FALSE(account.Enter(now)) << i;
  const auto over = account.Enter(now);
  ASSERT_TRUE(over);
  EXPECT_EQ(over->retry_after_seconds, 10);
  EXPECT_TRUE(account.Enter(now + 9 * kSecond));
  EXPECT_FALSE(account.Enter(now + 10 * kSecond));
  EXPECT_TRUE(account.Enter(now + 10 * kSecond));
  // No more than a minute's worth is kept.
  now += 3600 * kSecond;
  for (int i = 0; i < 6; ++i) EXPECT_FALSE(account.Enter(now)) << i;
  EXPECT_TRUE(account.Enter(now));
}

TEST(KeyAccount, TokensOwedArePaidByTime) {
  KeyAccount account("a");
  account.SetLimits({.tokens_per_minute = 60});
  const int64_t now = 100 * kSecond;
  EXPECT_FALSE(account.Enter(now));
  account.Charge(100, 20);  // 60 over
  const auto over = account.Enter(now);
  ASSERT_TRUE(over);
  EXPECT_EQ(over->retry_after_seconds, 61);
  EXPECT_TRUE(account.Enter(now + 60 * kSecond));
  EXPECT_FALSE(account.Enter(now + 61 * kSecond));
}

TEST(KeyAccount, NewLimitsKeepWhatWasUsed) {
  KeyAccount account("a");
  const int64_t now = 100 * kSecond;
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(account.Enter(now));
  account.SetLimits({.requests_per_minute = 2});
  EXPECT_FALSE(account.Enter(now));
  EXPECT_FALSE(account.Enter(now));
  EXPECT_TRUE(account.Enter(now));
  account.SetLimits({.requests_per_minute = 3});
  EXPECT_FALSE(account.Enter(now));
  EXPECT_TRUE(account.Enter(now));
  account.SetLimits({.max_concurrent = 52});
  EXPECT_TRUE(account.Enter(now)) << "53 are at work";
  account.Leave();
  account.Leave();
  EXPECT_FALSE(account.Enter(now));
}

}  // namespace
}  // namespace slipstream::testing
