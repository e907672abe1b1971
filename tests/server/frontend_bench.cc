// The front end by itself: streamed tokens and short requests per second, memory of many open
// streams, latency added to a token, the time to tokenize a long prompt. The server is a process of
// its own with a model that answers at once, so that "per core" is over its CPU seconds alone; or
// any server that speaks the OpenAI API, for comparison.
// Usage: slip_bench_frontend [--tokenizer MODEL --text FILE] [--csv FILE] [--commit NAME]
//                            [--only throughput|latency|open_streams|tokenize]
//                            [--port N --pid PID --engine NAME]      another server on this machine
#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "server/json_text.h"
#include "tests/server/bench_client.h"
#include "tests/server/bench_server.h"
#include "tokenizer/tokenizer.h"

namespace slipstream::testing {
namespace {

constexpr int kStreams = 64;
constexpr int kTokens = 2000;
constexpr int kManyStreams = 5000;
constexpr double kGoal = 20'000;  // tokens per second and core

std::string Post(const std::string& path, const std::string& body) {
  return fmt::format(
      "POST {} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
      "content-length: {}\r\n\r\n{}",
      path, body.size(), body);
}

std::string StreamRequest(int tokens, int seed) {
  return Post("/v1/completions",
              fmt::format(R"({{"prompt":"x","stream":true,"ignore_eos":true,"temperature":0,)"
                          R"("max_tokens":{},"seed":{}}})",
                          tokens, seed));
}

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

class Report {
 public:
  explicit Report(std::map<std::string, std::string> options) : options_(std::move(options)) {}

  void Add(const std::string& test, double value, const std::string& unit) {
    fmt::print("{:32} {:12.2f} {}\n", test, value, unit);
    std::fflush(stdout);
    if (options_["csv"].empty()) return;
    char date[16];
    const std::time_t now = std::time(nullptr);
    std::strftime(date, sizeof date, "%F", std::gmtime(&now));
    const bool is_new = !std::ifstream(options_["csv"]).good();
    std::ofstream out(options_["csv"], std::ios::app);
    if (is_new) out << "date,commit,cpu,engine,test,value,unit\n";
    out << fmt::format("{},{},{},{},{},{:.2f},{}\n", date, options_["commit"], CpuName(),
                       options_["engine"], test, value, unit);
  }

 private:
  std::map<std::string, std::string> options_;
};

struct Peer {
  uint16_t port = 0;
  pid_t pid = 0;
};

void StreamedTokens(const Peer& peer, int streams, int tokens, Report* report) {
  BenchClient client("127.0.0.1", peer.port);
  int done = 0, failed = 0;
  int64_t received = 0;
  client.on_tokens = [&](auto&, int64_t, int fresh) { received += fresh; };
  client.on_answer = [&](auto&, int status) { ++done, failed += status != 200; };
  if (!client.Open(streams)) return;
  const int64_t start_us = NowUs();
  const double start_cpu = CpuSecondsOf(peer.pid);
  for (auto& c : client.connections()) client.Send(*c, StreamRequest(tokens, c->index));
  const bool complete = client.RunUntil([&] { return done == streams; });
  const double wall = static_cast<double>(NowUs() - start_us) * 1e-6;
  const double cpu = CpuSecondsOf(peer.pid) - start_cpu;
  if (!complete || failed > 0 || received < int64_t{streams} * tokens) {
    fmt::print("streams: {} complete, {} refused, {} tokens\n", done, failed, received);
  }
  report->Add("streamed_tokens_per_s", static_cast<double>(received) / wall, "tokens/s");
  report->Add("streamed_tokens_per_core_s", static_cast<double>(received) / cpu, "tokens/s/core");
}

void ShortRequests(const Peer& peer, double seconds, Report* report) {
  const std::string request = Post(
      "/v1/chat/completions", R"({"max_tokens":1,"messages":[{"role":"user","content":"Hi"}]})");
  BenchClient client("127.0.0.1", peer.port);
  int64_t done = 0, refused = 0;
  const int64_t until_us = NowUs() + static_cast<int64_t>(seconds * 1e6);
  client.on_answer = [&](BenchClient::Connection& c, int status) {
    ++done;
    refused += status != 200;
    if (NowUs() < until_us) client.Send(c, request);
  };
  if (!client.Open(kStreams)) return;
  const int64_t start_us = NowUs();
  const double start_cpu = CpuSecondsOf(peer.pid);
  for (auto& c : client.connections()) client.Send(*c, request);
  client.RunUntil([&] { return NowUs() >= until_us; });
  const double wall = static_cast<double>(NowUs() - start_us) * 1e-6;
  const double cpu = CpuSecondsOf(peer.pid) - start_cpu;
  if (refused > 0) fmt::print("{} of {} short requests refused\n", refused, done);
  report->Add("short_requests_per_s", static_cast<double>(done) / wall, "requests/s");
  report->Add("short_requests_per_core_s", static_cast<double>(done) / cpu, "requests/s/core");
}

void OpenStreams(Report* report) {
  BenchServerOptions options;
  options.max_streams = kManyStreams;
  options.max_model_len = 256;
  options.step_us = 500'000;
  const BenchServer server(options);
  const double before = ResidentMbOf(server.pid());
  BenchClient client("127.0.0.1", server.port());
  std::vector<int> tokens(kManyStreams, 0);
  int speaking = 0;
  client.on_tokens = [&](BenchClient::Connection& c, int64_t, int fresh) {
    int& count = tokens[static_cast<size_t>(c.index)];
    if (count < 3 && count + fresh >= 3) ++speaking;
    count += fresh;
  };
  if (!client.Open(kManyStreams)) return fmt::print("could not open {} streams\n", kManyStreams);
  for (auto& c : client.connections()) client.Send(*c, StreamRequest(200, c->index));
  client.RunUntil([&] { return speaking == kManyStreams; });
  report->Add("open_streams", speaking, "streams");
  report->Add("open_streams_resident", ResidentMbOf(server.pid()), "MB");
  report->Add("open_streams_resident_before", before, "MB");
}

// At `load` tokens per second, one of each stream at a time: from the engine having a token to the
// client having read it, and what a token costs when each is written by itself.
void AddedLatency(double load, const std::string& name, Report* report) {
  constexpr int kWarmUp = 100;  // while other streams are still being opened
  const int kLatencyTokens = std::min(3000, kWarmUp + static_cast<int>(load * 3 / kStreams));
  EmissionTimes times(kStreams, kLatencyTokens);
  BenchServerOptions options;
  options.step_us = static_cast<int>(kStreams / load * 1e6);
  options.times = &times;
  const BenchServer server(options);
  BenchClient client("127.0.0.1", server.port());
  std::vector<double> added_ms;
  int done = 0;
  client.on_tokens = [&](BenchClient::Connection& c, int64_t now_us, int fresh) {
    for (int i = c.tokens - fresh; i < c.tokens; ++i) {
      const int64_t* time = times.at(static_cast<uint64_t>(c.index), i);
      if (i >= kWarmUp && time != nullptr && *time > 0) {
        added_ms.push_back(static_cast<double>(now_us - *time) * 1e-3);
      }
    }
  };
  client.on_answer = [&](auto&, int) { ++done; };
  if (!client.Open(kStreams)) return;
  const double start_cpu = CpuSecondsOf(server.pid());
  for (auto& c : client.connections()) client.Send(*c, StreamRequest(kLatencyTokens, c->index));
  client.RunUntil([&] { return done == kStreams; });
  const double cpu = CpuSecondsOf(server.pid()) - start_cpu;
  if (added_ms.empty()) return fmt::print("no latencies were taken\n");
  std::sort(added_ms.begin(), added_ms.end());
  const auto at = [&](double q) {
    return added_ms[static_cast<size_t>(q * static_cast<double>(added_ms.size() - 1))];
  };
  report->Add(name + "_load", load, "tokens/s");
  report->Add(name + "_tokens_per_core_s", kStreams * kLatencyTokens / cpu, "tokens/s/core");
  report->Add(name + "_added_latency_p50", at(0.5), "ms");
  report->Add(name + "_added_latency_p99", at(0.99), "ms");
}

// The start of a file, `tokens` tokens of it.
std::string LongPrompt(const Tokenizer& tokenizer, const std::string& file, size_t tokens) {
  std::ifstream in(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto count = [&](size_t bytes) {
    const auto ids = tokenizer.Encode(text.substr(0, bytes), {.add_special_tokens = false});
    return ids ? ids->size() : 0;
  };
  size_t low = 0, high = text.size();
  while (low + 64 < high) {
    const size_t middle = (low + high) / 2;
    (count(middle) < tokens ? low : high) = middle;
  }
  while (high < text.size() && (static_cast<unsigned char>(text[high]) & 0xC0) == 0x80) ++high;
  return text.substr(0, high);
}

std::string PromptJson(const std::string& text) {
  std::string quoted;
  AppendJsonString(&quoted, text);
  // llama.cpp calls it content.
  return "{\"content\":" + quoted + ",\"prompt\":" + quoted + "}";
}

// The round trip of a prompt of 100,000 tokens to /tokenize, and what other clients of the same I/O
// thread notice of it.
void Tokenizing(const Peer& peer, const std::string& text, Report* report) {
  BenchClient client("127.0.0.1", peer.port);
  if (!client.Open(2)) return;
  constexpr int kRounds = 10;
  const std::string request = Post("/tokenize", PromptJson(text));
  const std::string probe = "GET /health HTTP/1.1\r\nhost: bench\r\n\r\n";
  std::vector<double> trips_ms, probes_ms;
  int64_t sent_us = 0, probed_us = 0;
  bool over = false;
  client.on_answer = [&](BenchClient::Connection& c, int) {
    const int64_t now_us = NowUs();
    if (c.index == 0) {
      trips_ms.push_back(static_cast<double>(now_us - sent_us) * 1e-3);
      over = trips_ms.size() == kRounds;
      if (over) return;
      sent_us = NowUs();
      return client.Send(c, request);
    }
    probes_ms.push_back(static_cast<double>(now_us - probed_us) * 1e-3);
    probed_us = NowUs();
    client.Send(c, probe);
  };
  probed_us = sent_us = NowUs();
  client.Send(*client.connections()[1], probe);
  client.Send(*client.connections()[0], request);
  if (!client.RunUntil([&] { return over; })) return;
  std::sort(trips_ms.begin(), trips_ms.end());
  std::sort(probes_ms.begin(), probes_ms.end());
  report->Add("tokenize_100k_round_trip_p50", trips_ms[trips_ms.size() / 2], "ms");
  report->Add("health_meanwhile_p99", probes_ms[probes_ms.size() * 99 / 100], "ms");
}

void TokenizerAlone(const Tokenizer& tokenizer, const std::string& text, Report* report) {
  std::vector<double> times_ms;
  size_t tokens = 0;
  for (int i = 0; i < 7; ++i) {
    // A thread of its own: encoding threads remember the words they have met.
    std::thread([&] {
      const int64_t start_us = NowUs();
      const auto ids = tokenizer.Encode(text, {.add_special_tokens = false});
      times_ms.push_back(static_cast<double>(NowUs() - start_us) * 1e-3);
      tokens = ids ? ids->size() : 0;
    }).join();
  }
  std::sort(times_ms.begin(), times_ms.end());
  report->Add("tokenize_tokens", static_cast<double>(tokens), "tokens");
  report->Add("tokenize_100k", times_ms[times_ms.size() / 2], "ms");
}

int Run(std::map<std::string, std::string> options) {
  const auto open_files = [] {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  };
  open_files();
  Report report(options);
  std::string text;
  std::shared_ptr<const Tokenizer> tokenizer;
  if (!options["tokenizer"].empty()) {
    auto made = MakeTokenizer(options["tokenizer"]);
    if (!made) {
      fmt::print(stderr, "{}\n", made.error().message);
      return 1;
    }
    tokenizer = std::move(*made);
    text = LongPrompt(*tokenizer, options["text"], 100'000);
  }
  if (!options["port"].empty()) {
    const Peer peer{static_cast<uint16_t>(std::stoi(options["port"])), std::stoi(options["pid"])};
    StreamedTokens(peer, 16, kTokens, &report);
    ShortRequests(peer, 4, &report);
    if (!text.empty()) Tokenizing(peer, text, &report);
    return 0;
  }
  const auto wanted = [&](const char* test) {
    return options["only"].empty() || options["only"] == test;
  };
  if (wanted("throughput")) {
    const BenchServer server({.max_streams = kStreams});
    const Peer peer{server.port(), server.pid()};
    StreamedTokens(peer, kStreams, kTokens, &report);
    ShortRequests(peer, 4, &report);
  }
  if (wanted("latency")) {
    AddedLatency(kGoal / 2, "half_of_goal", &report);
    AddedLatency(kGoal * 2, "twice_the_goal", &report);
    AddedLatency(kGoal * 5, "five_times_the_goal", &report);
  }
  if (wanted("open_streams")) OpenStreams(&report);
  if (text.empty() || !wanted("tokenize")) return 0;
  TokenizerAlone(*tokenizer, text, &report);
  const BenchServer server({.max_model_len = 1 << 18, .tokenizer = tokenizer});
  Tokenizing({server.port(), server.pid()}, text, &report);
  return 0;
}

}  // namespace
}  // namespace slipstream::testing

int main(int argc, char** argv) {
  std::map<std::string, std::string> options = {{"engine", "slipstream"}, {"commit", "unknown"}};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name.starts_with("--")) options[name.substr(2)] = argv[i + 1];
  }
  if (!options["port"].empty() && options["pid"].empty()) {
    fmt::print(stderr, "--port needs --pid, for CPU seconds\n");
    return 2;
  }
  return slipstream::testing::Run(std::move(options));
}
