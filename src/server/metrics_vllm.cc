// vLLM's names for what we count (its v1/metrics/loggers.py), with its labels. Names, types and
// units are what its dashboards, KEDA rules and the inference gateway's endpoint picker look for.
#include <chrono>
#include <initializer_list>
#include <utility>

#include "server/metrics_page.h"

namespace slipstream {
namespace {

// Samples of one family that differ in the value of `label`.
template <typename T>
void AddSplit(MetricsPage& page, const char* name, const char* type, const char* help,
              const char* label, std::initializer_list<std::pair<const char*, T>> samples) {
  page.Head(name, type, help);
  for (const auto& [value, number] : samples) {
    page.Sample(name, number, MetricsPage::Label(label, value));
  }
}

void AddScheduler(MetricsPage& page, const EngineMetrics& e) {
  page.Gauge("num_requests_running", "Number of requests in model execution batches.",
             e.running_sequences.value());
  page.Gauge("num_requests_waiting", "Number of requests waiting to be processed.",
             e.waiting_sequences.value());
  AddSplit<double>(page, "num_requests_waiting_by_reason", "gauge",
                   "Number of requests waiting, by what they wait for.", "reason",
                   {{"capacity", e.waiting_sequences.value()}, {"deferred", 0}});
  const double total = e.kv_blocks_total.value();
  page.Gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.",
             total > 0 ? e.kv_blocks_used.value() / total : 0.0);
  page.Count("prefix_cache_queries_total", "Prefix cache queries, in queried tokens.",
             e.prefix_query_tokens_total);
  page.Count("prefix_cache_hits_total", "Prefix cache hits, in cached tokens.",
             e.prefix_hit_tokens_total);
  page.Count("num_preemptions_total", "Cumulative number of preemptions.", e.preemptions_total);
  page.Count("prompt_tokens_total", "Number of prefill tokens processed.", e.prompt_tokens_total);
  page.Count("generation_tokens_total", "Number of generation tokens processed.",
             e.generation_tokens_total);
  page.Add("iteration_tokens_total", "Number of tokens per engine step.", e.step_tokens);
}

void AddPrompts(MetricsPage& page, const ServerMetrics& s) {
  AddSplit<uint64_t>(page, "prompt_tokens_by_source_total", "counter",
                     "Number of prompt tokens by source.", "source",
                     {{"local_compute", s.computed_prompt_tokens_total.value()},
                      {"local_cache_hit",
                       s.cached_prompt_tokens_total.value() + s.whole_prompts_cached_total.value()},
                      {"external_kv_transfer", 0}});
  page.Count("prompt_tokens_cached_total", "Number of cached prompt tokens.",
             s.cached_prompt_tokens_total);
  page.Count("prompt_tokens_recomputed_total",
             "Number of cached tokens computed again for the forward pass.",
             s.whole_prompts_cached_total);
}

// What this engine has no part for reads as it does in a vLLM that does not use it: 0.
void AddUnused(MetricsPage& page) {
  const auto zero = [&](const char* name, const char* help) {
    page.Head(name, "counter", help);
    page.Sample(name, 0);
  };
  zero("external_prefix_cache_queries_total", "Tokens asked of a cache of other instances.");
  zero("external_prefix_cache_hits_total", "Tokens found in a cache of other instances.");
  zero("mm_cache_queries_total", "Multi-modal items looked up.");
  zero("mm_cache_hits_total", "Multi-modal items found.");
  zero("spec_decode_num_drafts_total", "Number of spec decoding drafts.");
  zero("spec_decode_num_draft_tokens_total", "Number of draft tokens.");
  zero("spec_decode_num_accepted_tokens_total", "Number of accepted tokens.");
  AddSplit<int>(page, "engine_sleep_state", "gauge", "1 at the state that the engine is in.",
                "sleep_state", {{"awake", 1}, {"weights_offloaded", 0}, {"discard_all", 0}});
}

void AddRequests(MetricsPage& page, const ServerMetrics& s) {
  page.Head("request_success_total", "counter", "Count of processed requests.");
  const auto finished = [&](const char* reason, const Counter& counter) {
    page.Sample("request_success_total", counter.value(),
                MetricsPage::Label("finished_reason", reason));
  };
  finished("stop", s.finished_stop_total);
  finished("length", s.finished_length_total);
  finished("abort", s.finished_abort_total);
  finished("error", s.finished_error_total);
  page.Sample("request_success_total", 0, MetricsPage::Label("finished_reason", "repetition"));
  page.Head("admission_rejections_total", "counter", "Requests refused at a full queue.");
  page.Sample("admission_rejections_total", s.rejected_queue_full_total.value(),
              "reason=\"queue_full\"");
  page.Add("time_to_first_token_seconds", "Time to first token.", s.time_to_first_token_seconds);
  page.Add("inter_token_latency_seconds", "Time between tokens.", s.inter_token_latency_seconds);
  // The name before vLLM 0.11, which older dashboards and autoscalers read.
  page.Add("time_per_output_token_seconds", "Time between tokens.", s.inter_token_latency_seconds);
  page.Add("request_time_per_output_token_seconds", "Mean time per output token of a request.",
           s.request_time_per_output_token_seconds);
  page.Add("e2e_request_latency_seconds", "End to end request latency.",
           s.e2e_request_latency_seconds);
  page.Add("request_queue_time_seconds", "Time spent in the WAITING phase.",
           s.request_queue_time_seconds);
  page.Add("request_prefill_time_seconds", "Time spent in the PREFILL phase.",
           s.request_prefill_seconds);
  page.Add("request_decode_time_seconds", "Time spent in the DECODE phase.",
           s.request_decode_seconds);
  page.Add("request_inference_time_seconds", "Time spent in the RUNNING phase.",
           s.request_inference_seconds);
  page.Add("request_prompt_tokens", "Number of prefill tokens.", s.request_prompt_tokens);
  page.Add("request_generation_tokens", "Number of generation tokens.",
           s.request_generation_tokens);
  page.Add("request_max_num_generation_tokens", "Most tokens generated for a choice of a request.",
           s.request_max_num_generation_tokens);
  page.Add("request_prefill_kv_computed_tokens", "Prompt tokens of a request that were not cached.",
           s.request_prefill_kv_computed_tokens);
  page.Add("request_num_preemptions", "Number of preemptions of a request.",
           s.request_num_preemptions);
  page.Add("request_params_n", "The n request parameter.", s.request_params_n);
  page.Add("request_params_max_tokens", "The max_tokens request parameter.",
           s.request_params_max_tokens);
}

}  // namespace

void AddVllmNames(const MetricsSources& sources, MetricsPage* page) {
  MetricsPage names("vllm:",
                    MetricsPage::Label("model_name", sources.model_name) + ",engine=\"0\"");
  AddScheduler(names, sources.engine);
  AddPrompts(names, sources.server);
  AddRequests(names, sources.server);
  AddUnused(names);
  MetricsPage info("vllm:", "engine=\"0\"");
  info.Head("cache_config_info", "gauge", "Information of the cache configuration");
  info.Sample("cache_config_info", 1,
              fmt::format("block_size=\"{}\",num_gpu_blocks=\"{}\",enable_prefix_caching=\"{}\"",
                          sources.block_size_tokens, sources.engine.kv_blocks_total.value(),
                          sources.prefix_caching ? "True" : "False"));
  // The time at which it was so, without further labels: there are no adapters.
  MetricsPage lora("vllm:", "max_lora=\"0\"");
  lora.Head("lora_requests_info", "gauge", "Running stats on lora requests.");
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  lora.Sample("lora_requests_info", std::chrono::duration_cast<std::chrono::seconds>(now).count(),
              "waiting_lora_adapters=\"\",running_lora_adapters=\"\"");
  page->Append(names.Take());
  page->Append(info.Take());
  page->Append(lora.Take());
}

}  // namespace slipstream
