// Parts of the server by themselves: JSON text, mailbox, router, error bodies, keys.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <thread>
#include <vector>

#include "server/api_keys.h"
#include "server/http/http_errors.h"
#include "server/http/router.h"
#include "server/json_text.h"
#include "server/mailbox.h"
#include "server/task_pool.h"

namespace slipstream {
namespace {

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(&out, text);
  return out;
}

TEST(JsonText, EscapesAndRepairs) {
  EXPECT_EQ(Quoted("a\"b\\c\n\t\x01"), R"("a\"b\\c\n\t\u0001")");
  EXPECT_EQ(Quoted("\xC3\xA9\xF0\x9F\x98\x80"), "\"\xC3\xA9\xF0\x9F\x98\x80\"");
  EXPECT_EQ(Quoted("a\xFFz"), "\"a\xEF\xBF\xBDz\"");
  EXPECT_EQ(Quoted("\xC3"), "\"\xEF\xBF\xBD\"");                  // cut off
  EXPECT_EQ(Quoted("\xC0\xAF"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");  // overlong
  EXPECT_EQ(Quoted("\xED\xA0\x80").size(), 11u);                  // a surrogate: three repairs
  EXPECT_EQ(Quoted(""), "\"\"");
}

TEST(JsonText, Floats) {
  const auto text = [](float v) {
    std::string out;
    AppendJsonFloat(&out, v);
    return out;
  };
  EXPECT_EQ(text(-0.5f), "-0.5");
  EXPECT_EQ(text(0.1f), "0.1");
  EXPECT_EQ(text(-std::numeric_limits<float>::infinity()), "-9999.0");
  EXPECT_EQ(text(std::numeric_limits<float>::quiet_NaN()), "-9999.0");
}

TEST(JsonText, ClipCutsAtCharacters) {
  EXPECT_EQ(Clip("short", 10), "short");
  EXPECT_EQ(Clip("ab\xC3\xA9xyz", 3), "ab...");
  EXPECT_EQ(CountCodePoints("a\xC3\xA9\xF0\x9F\x98\x80"), 3u);
}

TEST(Mailbox, OrderAndOneWakePerBatch) {
  std::atomic<int> wakes{0};
  Mailbox<int> box([&] { ++wakes; });
  for (int i = 0; i < 5; ++i) box.Push(int{i});
  EXPECT_EQ(wakes, 1);
  std::vector<int> taken;
  box.TakeAll([&](int&& v) { taken.push_back(v); });
  EXPECT_EQ(taken, (std::vector<int>{0, 1, 2, 3, 4}));
  box.Push(5);
  EXPECT_EQ(wakes, 2);
  box.Close();
  box.TakeAll([](int&&) {});
  box.Push(6);
  EXPECT_EQ(wakes, 2);  // closed: kept, but nobody is woken
}

TEST(Mailbox, ClosingBreaksTheCycleOfBoxAndItem) {
  struct Item {
    std::shared_ptr<Mailbox<std::shared_ptr<Item>>> box;
  };
  auto box = std::make_shared<Mailbox<std::shared_ptr<Item>>>([] {});
  std::weak_ptr<Item> before, after;
  const auto push = [&](std::weak_ptr<Item>* watch) {
    auto item = std::make_shared<Item>(Item{box});
    *watch = item;
    box->Push(std::move(item));
  };
  push(&before);
  EXPECT_FALSE(before.expired());
  box->Close();
  EXPECT_TRUE(before.expired());
  push(&after);
  EXPECT_TRUE(after.expired());
}

TEST(Mailbox, NothingIsLostBetweenThreads) {
  Mailbox<int> box([] {});
  constexpr int kItems = 20'000;
  std::thread writer([&] {
    for (int i = 0; i < kItems; ++i) box.Push(int{i});
  });
  int next = 0;
  while (next < kItems) {
    box.TakeAll([&](int&& v) { ASSERT_EQ(v, next++); });
  }
  writer.join();
}

TEST(Router, MethodsAndPrefixes) {
  Router router;
  const auto none = [](const std::shared_ptr<Exchange>&, HttpRequest&&) {};
  router.Add({"GET", "/a", false, none});
  router.Add({"POST", "/a", false, none});
  router.Add({"GET", "/b/*", false, none});
  EXPECT_EQ(router.Find("POST", "/a").route->method, "POST");
  EXPECT_EQ(router.Find("HEAD", "/a").route->method, "GET");
  EXPECT_EQ(router.Find("DELETE", "/a").allow, "GET, HEAD, POST");
  EXPECT_NE(router.Find("GET", "/b/x/y").route, nullptr);
  EXPECT_EQ(router.Find("GET", "/b/").route, nullptr);
  EXPECT_TRUE(router.Find("GET", "/c").allow.empty());
}

TEST(HttpErrors, StatusAndRetryHeaders) {
  const auto has = [](const HttpResponse& r, const char* name) {
    for (const auto& header : r.headers) {
      if (header.first == name) return true;
    }
    return false;
  };
  EXPECT_EQ(ErrorResponse({ErrorCode::kInvalidArgument, "x", "f"}).status, 400);
  EXPECT_TRUE(has(ErrorResponse({ErrorCode::kResourceExhausted, "x", {}}), "retry-after"));
  EXPECT_TRUE(has(ErrorResponse({ErrorCode::kUnavailable, "x", {}}), "retry-after"));
  EXPECT_TRUE(has(ErrorResponse({ErrorCode::kInternal, "x", {}}), "x-should-retry"));
  EXPECT_EQ(ErrorJson({ErrorCode::kInvalidArgument, "a \"b\"", "f"}),
            R"({"error":{"message":"a \"b\"","type":"invalid_request_error","param":"f",)"
            R"("code":null}})");
}

TEST(ApiKeys, BearerOfAnyCase) {
  EXPECT_TRUE(ApiKeyIsKnown({}, ""));
  EXPECT_TRUE(ApiKeyIsKnown({"a", "b"}, "bEaRer b"));
  EXPECT_FALSE(ApiKeyIsKnown({"a"}, "Bearer aa"));
  EXPECT_FALSE(ApiKeyIsKnown({"a"}, "Bearer "));
  EXPECT_FALSE(ApiKeyIsKnown({"a"}, "a"));
}

TEST(TaskPool, RunsInOrderAndStops) {
  TaskPool pool(1);
  std::vector<int> ran;
  std::atomic<bool> done{false};
  for (int i = 0; i < 10; ++i) pool.Post([&ran, i] { ran.push_back(i); });
  pool.Post([&] { done = true; });
  while (!done) std::this_thread::yield();
  EXPECT_EQ(ran.size(), 10u);
  EXPECT_TRUE(std::is_sorted(ran.begin(), ran.end()));
  pool.Stop();
  pool.Post([&ran] { ran.clear(); });
  EXPECT_EQ(ran.size(), 10u);
}

}  // namespace
}  // namespace slipstream
