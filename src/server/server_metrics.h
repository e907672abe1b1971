// What the front end counts; relaxed atomics, any thread. Rendered by metrics_text.cc, explained in
// docs/metrics.md. Buckets of the latency histograms follow vLLM's so that dashboards over mixed
// fleets agree.
#pragma once

#include "base/metrics.h"

namespace slipstream {

struct ServerMetrics {
  Counter requests_total;             // generations admitted
  Counter rejected_queue_full_total;  // 429
  Counter rejected_draining_total;    // 503
  Counter rejected_invalid_total;     // 400 after admission: context overflow, template errors
  Counter client_disconnects_total;   // generations cancelled because the client left
  Counter slow_clients_total;         // clients cut off because they did not read
  Counter finished_stop_total, finished_length_total, finished_abort_total, finished_error_total;
  Counter http_responses_2xx_total, http_responses_4xx_total, http_responses_5xx_total;
  Counter ignored_fields_total;  // unknown request fields accepted and ignored
  Counter connections_total, connections_refused_total;
  std::atomic<int64_t> open_connections{0};
  std::atomic<int64_t> open_requests{0};    // generations not finished
  std::atomic<int64_t> queued_requests{0};  // of these, without a first token

  Histogram time_to_first_token_seconds{{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                         0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                         20,    40,    80,   160,  640,  2560}};
  Histogram inter_token_latency_seconds{{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                         0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}};
  Histogram e2e_request_latency_seconds{{0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                         30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680}};
  Histogram request_prompt_tokens{
      {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000}};
  Histogram request_generation_tokens{
      {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000}};
};

}  // namespace slipstream
