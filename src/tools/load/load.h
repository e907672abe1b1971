// The load generator: drives any OpenAI-compatible endpoint and reports throughput and latency.
// One thread per open stream; closed loop (a fixed number of streams) or open loop (arrival times).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "tools/load/workload.h"

namespace slipstream {

struct LoadConfig {
  WorkloadOptions workload;
  std::string url = "http://127.0.0.1:8000";
  std::string model;                     // empty: the server's only model
  std::string endpoint = "completions";  // completions (random token ids) or chat (words)
  int concurrency = 16;        // streams at once; the bound of open streams in an open loop
  int64_t vocab_size = 32000;  // random prompt ids lie in [100, vocab_size)
  std::string api_key;
  bool ignore_eos = true;
  int timeout_seconds = 600;
  bool quiet = false;  // no progress bar
  std::string csv, json, engine = "slipstream", commit = "unknown", card = "cpu", dtype = "unknown";
  int ranks = 1;
};

// What happened to one request; times in seconds since the start of the run.
struct RequestRecord {
  int input_tokens = 0, output_tokens = 0;
  double start = 0, first_token = 0, end = 0;
  double worst_gap = 0;  // longest time between two chunks after the first
  int status = 0;        // HTTP, 0: the connection failed
  std::string error;
};

struct LoadReport {
  int completed = 0, failed = 0;
  double seconds = 0, output_tok_s = 0, total_tok_s = 0, requests_s = 0;
  double ttft_p50_ms = 0, ttft_p99_ms = 0, tpot_p50_ms = 0, tpot_p99_ms = 0;
  double itl_max_p99_ms = 0, e2e_p50_ms = 0, e2e_p99_ms = 0;
};

LoadReport Summarize(const std::vector<RequestRecord>& records, double seconds);

// Runs the load; an error only if nothing could be sent. Failed requests are in the report.
Result<LoadReport> RunLoad(const LoadConfig& config);

}  // namespace slipstream
