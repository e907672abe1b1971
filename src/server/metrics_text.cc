#include "server/metrics_text.h"

#include <utility>

#include "base/host_memory.h"
#include "server/metrics_page.h"

namespace slipstream {
namespace {

void AddEngine(MetricsPage& page, const EngineMetrics& e, int block_size_tokens) {
  page.Gauge("num_requests_running", "Sequences in the running batch", e.running_sequences.value());
  page.Gauge("num_requests_waiting", "Sequences waiting in the engine",
             e.waiting_sequences.value());
  const double total = e.kv_blocks_total.value();
  page.Gauge("kv_blocks_total", "KV cache blocks in the pool", total);
  page.Gauge("kv_blocks_used", "KV cache blocks held by sequences", e.kv_blocks_used.value());
  page.Gauge("kv_blocks_reusable", "Free KV cache blocks that still hold a cached prefix",
             e.kv_blocks_reusable.value());
  page.Gauge("kv_cache_usage_ratio", "Part of the KV cache held by sequences, 0 to 1",
             total > 0 ? e.kv_blocks_used.value() / total : 0.0);
  page.Gauge("kv_block_size_tokens", "Tokens in a KV cache block", block_size_tokens);
  page.Count("engine_steps_total", "Engine steps", e.steps_total);
  page.Count("engine_step_errors_total", "Engine steps that failed", e.step_errors_total);
  page.Count("prompt_tokens_total", "Prompt tokens computed", e.prompt_tokens_total);
  page.Count("generation_tokens_total", "Tokens generated", e.generation_tokens_total);
  page.Count("prefix_cache_query_tokens_total", "Prompt tokens looked up in the prefix cache",
             e.prefix_query_tokens_total);
  page.Count("prefix_cache_hit_tokens_total", "Prompt tokens found in the prefix cache",
             e.prefix_hit_tokens_total);
  page.Count("preemptions_total", "Sequences that gave up their blocks", e.preemptions_total);
  page.Gauge("paced_prefill_tokens",
             "Prompt tokens that the latest step could have had beside its decodes",
             e.paced_prefill_tokens.value());
  page.Count("engine_aborts_total", "Sequences cancelled", e.aborts_total);
  page.Head("engine_finished_total", "counter", "Sequences that ended in the engine");
  page.Sample("engine_finished_total", e.finished_stop_total.value(), "reason=\"stop\"");
  page.Sample("engine_finished_total", e.finished_length_total.value(), "reason=\"length\"");
  page.Sample("engine_finished_total", e.finished_abort_total.value(), "reason=\"abort\"");
  page.Sample("engine_finished_total", e.finished_error_total.value(), "reason=\"error\"");
  page.Add("engine_step_seconds", "Length of an engine step", e.step_seconds);
  page.Add("engine_step_tokens", "Tokens in an engine step", e.step_tokens);
  page.Add("request_queue_seconds", "Wait of a sequence before its first step", e.queue_seconds);
}

// Each method from the start with OK; other codes from when they occur, or there would be hundreds.
void AddGrpc(MetricsPage& page, const ServerMetrics& s) {
  page.Head("grpc_responses_total", "counter", "gRPC answers by method and status code");
  for (const GrpcMethodResponses& responses : s.grpc_responses) {
    for (size_t code = 0; code < responses.by_code.size(); ++code) {
      const uint64_t count = responses.by_code[code].value();
      if (code > 0 && count == 0) continue;
      page.Sample("grpc_responses_total", count,
                  MetricsPage::Label("method", responses.method) + "," +
                      MetricsPage::Label("code", GrpcMethodResponses::kCodes[code]));
    }
  }
}

void AddServer(MetricsPage& page, const ServerMetrics& s) {
  page.Count("requests_total", "Generation requests admitted", s.requests_total);
  page.Gauge("open_requests", "Generation requests not finished", s.open_requests.load());
  page.Gauge("queued_requests", "Prompts admitted without a first token", s.queued_requests.load());
  page.Head("request_rejections_total", "counter", "Generation requests refused");
  page.Sample("request_rejections_total", s.rejected_queue_full_total.value(),
              "reason=\"queue_full\"");
  page.Sample("request_rejections_total", s.rejected_key_limit_total.value(),
              "reason=\"key_limit\"");
  page.Sample("request_rejections_total", s.rejected_draining_total.value(), "reason=\"draining\"");
  page.Sample("request_rejections_total", s.rejected_invalid_total.value(), "reason=\"invalid\"");
  page.Head("request_finished_total", "counter", "Generation requests that ended");
  page.Sample("request_finished_total", s.finished_stop_total.value(), "finished_reason=\"stop\"");
  page.Sample("request_finished_total", s.finished_length_total.value(),
              "finished_reason=\"length\"");
  page.Sample("request_finished_total", s.finished_abort_total.value(),
              "finished_reason=\"abort\"");
  page.Sample("request_finished_total", s.finished_error_total.value(),
              "finished_reason=\"error\"");
  page.Gauge("queued_tokens", "Prompt tokens admitted without a first token",
             s.queued_tokens.load());
  page.Count("deadlines_exceeded_total", "Generation requests that ran out of time",
             s.deadlines_exceeded_total);
  page.Count("client_disconnects_total", "Requests cancelled because the client left",
             s.client_disconnects_total);
  page.Count("slow_clients_total", "Clients cut off because they did not read",
             s.slow_clients_total);
  page.Count("ignored_fields_total", "Unknown request fields that were ignored",
             s.ignored_fields_total);
  page.Head("http_responses_total", "counter", "HTTP answers by class of status");
  page.Sample("http_responses_total", s.http_responses_2xx_total.value(), "class=\"2xx\"");
  page.Sample("http_responses_total", s.http_responses_4xx_total.value(), "class=\"4xx\"");
  page.Sample("http_responses_total", s.http_responses_5xx_total.value(), "class=\"5xx\"");
  AddGrpc(page, s);
  page.Gauge("open_connections", "Open HTTP connections", s.open_connections.load());
  page.Count("connections_total", "HTTP connections accepted", s.connections_total);
  page.Count("connections_refused_total", "HTTP and gRPC connections over a limit",
             s.connections_refused_total);
  page.Count("tls_handshake_failures_total", "TLS handshakes that failed",
             s.tls_handshake_failures_total);
  page.Add("time_to_first_token_seconds", "From admission to the first token",
           s.time_to_first_token_seconds);
  page.Add("inter_token_latency_seconds", "Between tokens of a choice",
           s.inter_token_latency_seconds);
  page.Add("e2e_request_latency_seconds", "From admission to the last token",
           s.e2e_request_latency_seconds);
  page.Add("request_prompt_tokens", "Prompt tokens of a request", s.request_prompt_tokens);
  page.Add("request_generation_tokens", "Tokens generated for a choice",
           s.request_generation_tokens);
  page.Add("request_prefill_seconds", "From the first step of a request to its first token",
           s.request_prefill_seconds);
  page.Add("request_decode_seconds", "From the first token of a request to its last",
           s.request_decode_seconds);
}

void AddKeys(MetricsPage& page, const std::vector<std::shared_ptr<KeyAccount>>& keys) {
  if (keys.empty()) return;
  const auto each = [&](std::string_view name, const char* help, auto value) {
    page.Head(name, "counter", help);
    for (const auto& key : keys) {
      page.Sample(name, value(*key), MetricsPage::Label("key", key->name()));
    }
  };
  each("key_requests_total", "Requests let in by API key",
       [](const KeyAccount& k) { return k.requests_total.value(); });
  each("key_prompt_tokens_total", "Prompt tokens by API key",
       [](const KeyAccount& k) { return k.prompt_tokens_total.value(); });
  each("key_generation_tokens_total", "Tokens generated by API key",
       [](const KeyAccount& k) { return k.generation_tokens_total.value(); });
  page.Head("key_rejections_total", "counter", "Requests over a limit of their API key");
  for (const auto& key : keys) {
    const auto reject = [&](const char* reason, const Counter& counter) {
      page.Sample("key_rejections_total", counter.value(),
                  MetricsPage::Label("key", key->name()) + ",reason=\"" + reason + "\"");
    };
    reject("requests", key->rejected_requests_total);
    reject("tokens", key->rejected_tokens_total);
    reject("concurrency", key->rejected_concurrency_total);
  }
}

void AddMemory(MetricsPage& page, const HostMemory& memory) {
  page.Head("host_memory_bytes", "gauge", "Resident memory of the host by what it is");
  page.Sample("host_memory_bytes", memory.own_bytes, "kind=\"own\"");
  page.Sample("host_memory_bytes", memory.file_bytes, "kind=\"files\"");
  page.Sample("host_memory_bytes", memory.shared_bytes, "kind=\"shared\"");
  page.Gauge("host_memory_peak_bytes", "Most host memory that was ever resident",
             memory.peak_bytes);
}

}  // namespace

std::string RenderMetrics(const MetricsSources& sources) {
  const std::string model = MetricsPage::Label("model_name", sources.model_name);
  const HostMemory memory = ReadHostMemory();
  MetricsPage page("slipstream_", model);
  AddEngine(page, sources.engine, sources.block_size_tokens);
  AddServer(page, sources.server);
  AddKeys(page, sources.keys);
  AddMemory(page, memory);
  // The name that dashboards of any process ask for.
  MetricsPage process("process_", model);
  process.Gauge("resident_memory_bytes", "Resident memory", memory.resident_bytes);
  page.Append(process.Take());
  if (sources.vllm_names) AddVllmNames(sources, &page);
  return page.Take();
}

}  // namespace slipstream
