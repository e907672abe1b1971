// What the front end counts; relaxed atomics, any thread. Rendered by metrics_text.cc, explained in
// docs/metrics.md. Buckets of the latency histograms follow vLLM's so that dashboards over mixed
// fleets agree.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/metrics.h"
#include "server/grpc_responses.h"

namespace slipstream {

struct ServerMetrics {
  Counter requests_total;             // generations admitted
  Counter rejected_queue_full_total;  // 429
  Counter rejected_key_limit_total;   // 429: over a limit of the API key
  Counter rejected_draining_total;    // 503
  Counter rejected_invalid_total;     // 400 after admission: context overflow, template errors
  Counter client_disconnects_total;   // generations cancelled because the client left
  Counter deadlines_exceeded_total;   // 504: generations that ran out of time
  Counter slow_clients_total;         // clients cut off because they did not read
  Counter finished_stop_total, finished_length_total, finished_abort_total, finished_error_total;
  Counter http_responses_2xx_total, http_responses_4xx_total, http_responses_5xx_total;
  // The last one is for methods of later gRPC versions.
  std::array<GrpcMethodResponses, 11> grpc_responses{
      {{"slipstream.v1.Inference/Generate"},
       {"slipstream.v1.Inference/Embed"},
       {"slipstream.v1.Inference/Tokenize"},
       {"slipstream.v1.Inference/Detokenize"},
       {"slipstream.v1.Inference/GetModelInfo"},
       {"slipstream.v1.Inference/GetLoad"},
       {"slipstream.v1.Inference/Health"},
       {"grpc.health.v1.Health/Check"},
       {"grpc.health.v1.Health/Watch"},
       {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"},
       {"other"}}};
  Counter ignored_fields_total;  // unknown request fields accepted and ignored
  // Of prompts whose answer began: tokens found in the prefix cache, the others, and prompts of
  // which all but the last token was found.
  Counter cached_prompt_tokens_total, computed_prompt_tokens_total, whole_prompts_cached_total;
  Counter tls_handshake_failures_total;
  Counter connections_total, connections_refused_total;
  std::atomic<int64_t> open_connections{0};
  std::atomic<int64_t> open_requests{0};    // generations not finished
  std::atomic<int64_t> queued_requests{0};  // of these, without a first token
  std::atomic<int64_t> queued_tokens{0};    // prompt tokens of prompts without a first token

  Histogram time_to_first_token_seconds{{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                         0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                         20,    40,    80,   160,  640,  2560}};
  Histogram inter_token_latency_seconds{TokenBounds()};
  Histogram request_time_per_output_token_seconds{TokenBounds()};
  // Of a request: waiting, then prefill from its first step, then decode from its first token; the
  // last two are the inference time.
  Histogram e2e_request_latency_seconds{RequestBounds()};
  Histogram request_queue_time_seconds{RequestBounds()};
  Histogram request_prefill_seconds{RequestBounds()};
  Histogram request_decode_seconds{RequestBounds()};
  Histogram request_inference_seconds{RequestBounds()};
  Histogram request_prompt_tokens, request_generation_tokens, request_params_max_tokens;
  Histogram request_prefill_kv_computed_tokens, request_max_num_generation_tokens;
  Histogram request_params_n{{1, 2, 5, 10, 20}};
  Histogram request_num_preemptions{{1, 2, 3, 4, 5, 10, 20}};

  GrpcMethodResponses& GrpcResponsesOf(std::string_view method) {
    for (GrpcMethodResponses& responses : grpc_responses) {
      if (responses.method == method) return responses;
    }
    return grpc_responses.back();
  }

  // Sizes are counted in steps of 1, 2, 5 up to the context.
  explicit ServerMetrics(int64_t max_model_len)
      : request_prompt_tokens(SizeBounds(max_model_len)),
        request_generation_tokens(SizeBounds(max_model_len)),
        request_params_max_tokens(SizeBounds(max_model_len)),
        request_prefill_kv_computed_tokens(SizeBounds(max_model_len)),
        request_max_num_generation_tokens(SizeBounds(max_model_len)) {}

 private:
  static std::vector<double> TokenBounds() {
    return {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
            0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
  }
  static std::vector<double> RequestBounds() {
    return {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
            30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
  }
  static std::vector<double> SizeBounds(int64_t most) {
    std::vector<double> bounds;
    for (int64_t power = 1; power <= most; power *= 10) {
      for (const int64_t step : {1, 2, 5}) {
        if (step * power <= most) bounds.push_back(static_cast<double>(step * power));
      }
    }
    return bounds;
  }
};

}  // namespace slipstream
