#include "tools/load/load.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tools/load/http_stream.h"

namespace slipstream {
namespace {

// Answers each connection's requests with a canned response, cut into small writes.
class CannedServer {
 public:
  explicit CannedServer(std::string response) : response_(std::move(response)) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0) std::abort();
    listen(fd_, 16);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    acceptor_ = std::thread([this] {
      for (int c; (c = accept(fd_, nullptr, nullptr)) >= 0;) {
        clients_.emplace_back([this, c] { Serve(c); });
      }
    });
  }
  ~CannedServer() {
    shutdown(fd_, SHUT_RDWR);
    acceptor_.join();
    for (auto& t : clients_) t.join();
    close(fd_);
  }
  std::string url() const { return fmt::format("http://127.0.0.1:{}/base/", port); }
  int port = 0;

 private:
  void Serve(int c) {
    std::string in;
    char chunk[4096];
    for (ssize_t n; (n = recv(c, chunk, sizeof chunk, 0)) > 0;) {
      in.append(chunk, n);
      const size_t head = in.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      const size_t at = in.find("Content-Length: ");
      const size_t length = std::stoul(in.substr(at + 16));
      if (in.size() < head + 4 + length) continue;
      in.erase(0, head + 4 + length);
      for (size_t i = 0; i < response_.size(); i += 7) {
        const std::string piece = response_.substr(i, 7);
        if (send(c, piece.data(), piece.size(), MSG_NOSIGNAL) < 0) break;
      }
    }
    close(c);
  }
  std::string response_;
  int fd_;
  std::thread acceptor_;
  std::vector<std::thread> clients_;
};

std::string Chunked(const std::vector<std::string>& parts) {
  std::string out =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
      "Transfer-Encoding: chunked\r\n\r\n";
  for (const std::string& p : parts) out += fmt::format("{:x}\r\n{}\r\n", p.size(), p);
  return out + "0\r\n\r\n";
}

TEST(HttpStream, JoinsEventsCutByChunksAndReads) {
  CannedServer server(Chunked({": hi\n\nda", "ta: {\"a\":1}\n\ndata: x\n", "\ndata: [DONE]\n\n"}));
  HttpStream stream(*ParseUrl(server.url()), 10);
  for (int round = 0; round < 2; ++round) {  // the connection is kept
    std::vector<std::string> events;
    std::string body;
    const auto status = stream.Post(
        "/v1/completions", "", "{}", [&](std::string_view d) { events.emplace_back(d); }, &body);
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(*status, 200);
    EXPECT_EQ(events, (std::vector<std::string>{"{\"a\":1}", "x", "[DONE]"}));
  }
}

TEST(RunLoad, CountsTokensFromUsageAndWritesOutputs) {
  CannedServer server(Chunked(
      {"data: {\"choices\":[{\"text\":\"a\"}]}\n\n", "data: {\"choices\":[{\"text\":\"b\"}]}\n\n",
       "data: {\"choices\":[],\"usage\":{\"completion_tokens\":5}}\n\n", "data: [DONE]\n\n"}));
  LoadConfig config;
  config.url = server.url();
  config.workload.num_requests = 6;
  config.workload.input_tokens = "uniform:3:5";
  config.concurrency = 2;
  config.quiet = true;
  const auto csv = std::filesystem::temp_directory_path() / "slip_load_test.csv";
  config.csv = csv.string();
  const auto report = RunLoad(config);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->completed, 6);
  EXPECT_EQ(report->failed, 0);
  EXPECT_NEAR(report->output_tok_s * report->seconds, 30, 1e-6);
  std::ifstream in(csv);
  std::string row;
  ASSERT_TRUE(std::getline(in, row));
  EXPECT_NE(row.find(",uniform:3:5,128,"), std::string::npos) << row;
  std::filesystem::remove(csv);
}

TEST(RunLoad, SurvivesAnswersOfTheWrongShape) {
  for (const char* event :
       {R"({"usage":{"completion_tokens":"x"},"choices":[]})", R"({"choices":{"a":1}})",
        R"({"choices":[5]})", R"({"usage":5})", "5", "[", R"("x")"}) {
    CannedServer server(Chunked({fmt::format("data: {}\n\n", event), "data: [DONE]\n\n"}));
    LoadConfig config;
    config.url = server.url();
    config.workload.num_requests = 1;
    config.quiet = true;
    const auto report = RunLoad(config);
    ASSERT_FALSE(report) << event;
    EXPECT_NE(report.error().message.find("no tokens"), std::string::npos) << event;
  }
}

TEST(RunLoad, PortsOutOfRangeAreRefused) {
  for (const char* url : {"http://h:99999", "http://h:", "http://h:x", "http://h:123456789012"}) {
    const auto got = ParseUrl(url);
    ASSERT_FALSE(got) << url;
    EXPECT_NE(got.error().message.find(url), std::string::npos);
  }
  EXPECT_TRUE(ParseUrl("http://h:65535/v1"));
}

TEST(RunLoad, ReportsRefusedRequests) {
  const std::string body = R"({"error":{"message":"queue full"}})";
  CannedServer server(fmt::format("HTTP/1.1 429 Too Many Requests\r\nContent-Length: {}\r\n\r\n{}",
                                  body.size(), body));
  LoadConfig config;
  config.url = server.url();
  config.workload.num_requests = 2;
  config.quiet = true;
  const auto report = RunLoad(config);
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().message.find("queue full"), std::string::npos);
}

TEST(Workload, LengthsFollowTheirDistribution) {
  const auto uniform = LengthDistribution::Parse("uniform:10:20");
  ASSERT_TRUE(uniform);
  int low = 99, high = 0;
  for (int i = 0; i < 1000; ++i) {
    const int x = uniform->Draw(1, i);
    low = std::min(low, x), high = std::max(high, x);
  }
  EXPECT_EQ(low, 10);
  EXPECT_EQ(high, 20);
  EXPECT_EQ(LengthDistribution::Parse("64")->Draw(1, 2), 64);
  for (const char* bad : {"", "x", "uniform:9:3", "beta:1:2", "0", "-4", "nan", "5x",
                          "uniform:1:nan", "normal:5:xx", "normal:5:", "uniform:1:1e300"}) {
    EXPECT_FALSE(LengthDistribution::Parse(bad)) << bad;
  }
}

TEST(Workload, PoissonArrivalsHaveTheAskedRate) {
  WorkloadOptions o;
  o.arrival = "poisson";
  o.rate = 20;
  o.num_requests = 4000;
  const auto plan = PlanWorkload(o);
  ASSERT_TRUE(plan);
  EXPECT_NEAR(plan->back().at_seconds, 200, 12);
  EXPECT_TRUE(std::is_sorted(plan->begin(), plan->end(), [](const auto& a, const auto& b) {
    return a.at_seconds < b.at_seconds;
  }));
}

TEST(Workload, TraceErrorsNameTheLine) {
  const auto path = std::filesystem::temp_directory_path() / "slip_trace.csv";
  std::ofstream(path) << "seconds,input_tokens,output_tokens\n0.5,10,20\n0.1,zehn,5\n";
  WorkloadOptions o;
  o.arrival = "trace";
  o.trace = path.string();
  const auto plan = PlanWorkload(o);
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("line 3"), std::string::npos) << plan.error().message;
  std::ofstream(path) << "nan,10,20\n";
  EXPECT_FALSE(PlanWorkload(o));
  std::filesystem::remove(path);
}

TEST(Summarize, PercentilesAndTimePerToken) {
  std::vector<RequestRecord> records(2);
  records[0] = {.input_tokens = 10, .output_tokens = 11, .start = 0, .first_token = 1, .end = 2};
  records[1] = {.input_tokens = 10, .output_tokens = 21, .start = 0, .first_token = 3, .end = 5};
  const LoadReport r = Summarize(records, 5);
  EXPECT_DOUBLE_EQ(r.output_tok_s, 32 / 5.0);
  EXPECT_DOUBLE_EQ(r.ttft_p50_ms, 2000);
  EXPECT_DOUBLE_EQ(r.tpot_p50_ms, 100);
}

}  // namespace
}  // namespace slipstream
