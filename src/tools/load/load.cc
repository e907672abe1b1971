#include "tools/load/load.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/rng.h"
#include "tools/load/http_stream.h"

namespace slipstream {
namespace {

using Json = nlohmann::json;

double Percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = p * (values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const auto high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - low) * (values[high] - values[low]);
}

std::string RequestBody(const LoadConfig& c, const PlannedRequest& r, uint64_t index) {
  Json body{{"max_tokens", r.output_tokens},
            {"temperature", 0},
            {"stream", true},
            {"stream_options", {{"include_usage", true}}}};
  if (!c.model.empty()) body["model"] = c.model;
  if (c.ignore_eos) body["ignore_eos"] = true;
  const uint64_t seed = MixBits(c.workload.seed ^ MixBits(index + 17));
  if (c.endpoint == "chat") {
    static constexpr const char* kWords[] = {"river", "stone", "light", "paper", "north", "green",
                                             "seven", "house", "music", "cloud", "table", "winter"};
    std::string text;
    for (int i = 0; i < r.input_tokens; ++i) {
      text += kWords[MixBits(seed + i) % std::size(kWords)];
      text += ' ';
    }
    body["messages"] = {{{"role", "user"}, {"content", text}}};
  } else {
    std::vector<int64_t> ids(r.input_tokens);
    for (int i = 0; i < r.input_tokens; ++i) {
      ids[i] = 100 + MixBits(seed + i) % std::max<int64_t>(1, c.vocab_size - 100);
    }
    body["prompt"] = ids;
  }
  return body.dump();
}

// Shared by the stream threads of one run.
struct Run {
  const LoadConfig& config;
  const std::vector<PlannedRequest>& plan;
  Url url;
  int64_t start_us = 0;
  std::vector<RequestRecord> records;
  std::atomic<size_t> next{0};
  std::atomic<int64_t> done{0}, failed{0}, output_tokens{0};
  double now() const { return (NowUs() - start_us) * 1e-6; }
};

// Reads only what has the type it should have: the server may be anyone's.
void OnEvent(Run& run, RequestRecord& record, std::string_view data, double* last) {
  if (data == "[DONE]") return;
  const Json event = Json::parse(data, nullptr, false);
  if (!event.is_object()) return;
  if (event.contains("error")) {
    record.error = event["error"].dump().substr(0, 300);
    return;
  }
  if (const auto usage = event.find("usage"); usage != event.end() && usage->is_object()) {
    const auto tokens = usage->find("completion_tokens");
    if (tokens != usage->end() && tokens->is_number_integer()) record.output_tokens = *tokens;
  }
  const auto choices = event.find("choices");
  if (choices == event.end() || !choices->is_array() || choices->empty()) return;
  const Json& choice = choices->front();
  if (!choice.is_object()) return;
  // A chat stream opens with a chunk that has a role and no token.
  if (const auto delta = choice.find("delta"); delta != choice.end() && delta->contains("role")) {
    return;
  }
  const double now = run.now();
  if (record.first_token == 0) {
    record.first_token = now;
  } else {
    record.worst_gap = std::max(record.worst_gap, now - *last);
  }
  *last = now;
  run.output_tokens.fetch_add(1, std::memory_order_relaxed);
}

void RunStream(Run& run) {
  const LoadConfig& c = run.config;
  HttpStream stream(run.url, c.timeout_seconds);
  const std::string path = c.endpoint == "chat" ? "/v1/chat/completions" : "/v1/completions";
  const std::string headers =
      c.api_key.empty() ? "" : fmt::format("Authorization: Bearer {}\r\n", c.api_key);
  for (size_t i = run.next++; i < run.plan.size(); i = run.next++) {
    const PlannedRequest& planned = run.plan[i];
    const std::string body = RequestBody(c, planned, i);
    if (c.workload.arrival != "closed") {
      const double wait = planned.at_seconds - run.now();
      if (wait > 0) std::this_thread::sleep_for(std::chrono::duration<double>(wait));
    }
    RequestRecord& record = run.records[i];
    record.input_tokens = planned.input_tokens;
    // In an open loop a request is late when no stream was free: the wait counts as latency.
    record.start = c.workload.arrival == "closed" ? run.now() : planned.at_seconds;
    double last = 0;
    std::string error_body;
    auto status = stream.Post(
        path, headers, body, [&](std::string_view d) { OnEvent(run, record, d, &last); },
        &error_body);
    record.end = run.now();
    record.status = status ? *status : 0;
    if (!status) record.error = status.error().message;
    if (status && *status != 200) record.error = error_body.empty() ? "no body" : error_body;
    if (record.error.empty() && record.first_token == 0) record.error = "the stream had no tokens";
    if (!record.error.empty()) ++run.failed;
    ++run.done;
  }
}

void ShowProgress(const Run& run, const std::atomic<bool>& ended) {
  const auto total = static_cast<int64_t>(run.plan.size());
  while (!ended) {
    const int64_t done = run.done;
    const int filled = static_cast<int>(done * 30 / std::max<int64_t>(1, total));
    std::fprintf(stderr, "\r[%s%s] %ld/%ld requests, %ld failed, %.0f output tok/s   ",
                 std::string(filled, '#').c_str(), std::string(30 - filled, '.').c_str(),
                 static_cast<long>(done), static_cast<long>(total), static_cast<long>(run.failed),
                 run.output_tokens / std::max(0.001, run.now()));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  std::fprintf(stderr, "\r%80s\r", "");
}

void PrintReport(const LoadConfig& c, const LoadReport& r, const Run& run) {
  std::printf("%-26s %s, concurrency %d\n", "load", c.workload.arrival.c_str(), c.concurrency);
  std::printf("%-26s %d completed, %d failed in %.2f s\n", "requests", r.completed, r.failed,
              r.seconds);
  std::printf("%-26s %.1f output tok/s, %.1f tok/s in all, %.2f requests/s\n", "throughput",
              r.output_tok_s, r.total_tok_s, r.requests_s);
  std::printf("%-26s p50 %.1f ms, p99 %.1f ms\n", "time to first token", r.ttft_p50_ms,
              r.ttft_p99_ms);
  std::printf("%-26s p50 %.2f ms, p99 %.2f ms\n", "time per output token", r.tpot_p50_ms,
              r.tpot_p99_ms);
  std::printf("%-26s p99 %.1f ms\n", "longest gap of a stream", r.itl_max_p99_ms);
  std::printf("%-26s p50 %.1f ms, p99 %.1f ms\n", "end to end", r.e2e_p50_ms, r.e2e_p99_ms);
  std::map<std::string, int> errors;
  for (const RequestRecord& record : run.records) {
    if (!record.error.empty()) ++errors[fmt::format("{}: {}", record.status, record.error)];
  }
  int shown = 0;
  for (const auto& [text, count] : errors) {
    if (++shown > 5) break;
    std::printf("%-26s %d x %s\n", "error", count, text.c_str());
  }
}

Status WriteCsv(const LoadConfig& c, const LoadReport& r) {
  std::ofstream out(c.csv, std::ios::app);
  if (!out) return InvalidArgument(fmt::format("{}: cannot be written", c.csv), "csv");
  char date[16];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  out << fmt::format("{},{},{},{},{},{},{},{},{},{},{:.1f},{:.1f},{:.1f},{:.2f},{:.2f}\n", c.card,
                     date, c.commit, c.model, c.dtype, c.ranks, c.engine, c.concurrency,
                     c.workload.input_tokens, c.workload.output_tokens, r.output_tok_s,
                     r.ttft_p50_ms, r.ttft_p99_ms, r.tpot_p50_ms, r.tpot_p99_ms);
  return {};
}

Status WriteJson(const LoadConfig& c, const LoadReport& r, const Run& run) {
  std::ofstream out(c.json);
  if (!out) return InvalidArgument(fmt::format("{}: cannot be written", c.json), "json");
  Json doc{{"engine", c.engine},
           {"model", c.model},
           {"arrival", c.workload.arrival},
           {"concurrency", c.concurrency},
           {"completed", r.completed},
           {"failed", r.failed},
           {"seconds", r.seconds},
           {"output_tok_s", r.output_tok_s},
           {"total_tok_s", r.total_tok_s},
           {"ttft_p50_ms", r.ttft_p50_ms},
           {"ttft_p99_ms", r.ttft_p99_ms},
           {"tpot_p50_ms", r.tpot_p50_ms},
           {"tpot_p99_ms", r.tpot_p99_ms},
           {"requests", Json::array()}};
  for (const RequestRecord& q : run.records) {
    doc["requests"].push_back({{"start", q.start},
                               {"first_token", q.first_token},
                               {"end", q.end},
                               {"input", q.input_tokens},
                               {"output", q.output_tokens},
                               {"worst_gap", q.worst_gap},
                               {"status", q.status},
                               {"error", q.error}});
  }
  out << doc.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
  return {};
}

}  // namespace

LoadReport Summarize(const std::vector<RequestRecord>& records, double seconds) {
  LoadReport r;
  r.seconds = seconds;
  std::vector<double> ttft, tpot, gap, e2e;
  int64_t in = 0, out = 0;
  for (const RequestRecord& q : records) {
    if (!q.error.empty() || q.first_token == 0) {
      ++r.failed;
      continue;
    }
    ++r.completed;
    in += q.input_tokens;
    out += q.output_tokens;
    ttft.push_back((q.first_token - q.start) * 1e3);
    e2e.push_back((q.end - q.start) * 1e3);
    gap.push_back(q.worst_gap * 1e3);
    if (q.output_tokens > 1) {
      tpot.push_back((q.end - q.first_token) * 1e3 / (q.output_tokens - 1));
    }
  }
  r.output_tok_s = out / seconds;
  r.total_tok_s = (in + out) / seconds;
  r.requests_s = r.completed / seconds;
  r.ttft_p50_ms = Percentile(ttft, 0.5), r.ttft_p99_ms = Percentile(ttft, 0.99);
  r.tpot_p50_ms = Percentile(tpot, 0.5), r.tpot_p99_ms = Percentile(tpot, 0.99);
  r.itl_max_p99_ms = Percentile(gap, 0.99);
  r.e2e_p50_ms = Percentile(e2e, 0.5), r.e2e_p99_ms = Percentile(e2e, 0.99);
  return r;
}

Result<LoadReport> RunLoad(const LoadConfig& config) {
  SLIP_ASSIGN_OR_RETURN(const auto plan, PlanWorkload(config.workload));
  if (plan.empty()) return InvalidArgument("the workload has no requests");
  SLIP_ASSIGN_OR_RETURN(auto url, ParseUrl(config.url));
  Run run{config, plan, std::move(url)};
  run.records.resize(plan.size());
  run.start_us = NowUs();

  std::atomic<bool> ended{false};
  std::thread progress;
  if (!config.quiet && isatty(STDERR_FILENO) != 0) {
    progress = std::thread([&] { ShowProgress(run, ended); });
  }
  std::vector<std::thread> streams;
  const int count = std::min<int>(config.concurrency, plan.size());
  for (int i = 0; i < count; ++i) streams.emplace_back([&] { RunStream(run); });
  for (std::thread& t : streams) t.join();
  const double seconds = run.now();
  ended = true;
  if (progress.joinable()) progress.join();

  const LoadReport report = Summarize(run.records, seconds);
  PrintReport(config, report, run);
  if (!config.csv.empty()) SLIP_RETURN_IF_ERROR(WriteCsv(config, report));
  if (!config.json.empty()) SLIP_RETURN_IF_ERROR(WriteJson(config, report, run));
  if (report.completed == 0) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("no request succeeded; the first error: {}", run.records[0].error));
  }
  return report;
}

}  // namespace slipstream
