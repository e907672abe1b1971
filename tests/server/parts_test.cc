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
#include "server/request_record.h"
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
  const auto keys = ApiKeys::Open({"a", "b"}, "");
  ASSERT_TRUE(keys);
  EXPECT_TRUE((*keys)->required());
  EXPECT_EQ((*keys)->Find("bEaRer b")->name(), "key-2");
  for (const char* wrong : {"", "a", "Bearer ", "Bearer aa", "Bearer", "Basic a"}) {
    EXPECT_EQ((*keys)->Find(wrong), nullptr) << wrong;
  }
  EXPECT_FALSE((*ApiKeys::Open({}, ""))->required());
}

TEST(RequestRecord, TraceIdOfATraceparent) {
  const std::string trace = "0af7651916cd43dd8448eb211c80319c", rest = "-b7ad6b7169203331-01";
  EXPECT_EQ(TraceIdOf("00-" + trace + rest), trace);
  EXPECT_EQ(TraceIdOf("01-" + trace + rest + "-more"), trace) << "a later version";
  for (const std::string& wrong :
       {std::string(), trace, "00-" + trace, "00-" + trace + rest + "-more", "ff-" + trace + rest,
        "00-" + trace + rest + "x", "00-" + std::string(32, '0') + rest,
        "00-" + trace + "-0000000000000000-01", "00-0AF7651916CD43DD8448EB211C80319C" + rest,
        "00-" + trace + "-b7ad6b7169203331_01"}) {
    EXPECT_EQ(TraceIdOf(wrong), "") << wrong;
  }
}

TEST(RequestRecord, SecondsOfAHeader) {
  EXPECT_EQ(ParseSeconds("2.5"), 2.5);
  EXPECT_EQ(ParseSeconds("86400"), 86400);
  for (const char* wrong : {"", "0", "-1", "x", "1s", " 1", "nan", "inf", "86401", "1e9"}) {
    EXPECT_FALSE(ParseSeconds(wrong)) << wrong;
  }
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
