// Both metric pages against written lists: names, types, labels and buckets are a contract with
// dashboards and scalers, so a change here is a change for all of them.
#include <map>
#include <set>
#include <sstream>

#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

struct Family {
  std::string type;
  std::set<std::string> labels;     // of any sample but "le"
  std::vector<std::string> bounds;  // of a histogram, in order of appearance, of its first series
};

// The page as a scraper reads it; EXPECTs that every sample belongs to the family above it.
std::map<std::string, Family> Parse(const std::string& page) {
  std::map<std::string, Family> families;
  std::istringstream lines(page);
  std::string line, current;
  while (std::getline(lines, line)) {
    if (line.starts_with("# TYPE ")) {
      const size_t space = line.find(' ', 7);
      current = line.substr(7, space - 7);
      EXPECT_FALSE(families.contains(current)) << "twice: " << current;
      families[current].type = line.substr(space + 1);
      continue;
    }
    if (line.starts_with("# HELP ")) continue;
    const size_t open = line.find('{'), close = line.rfind("} ");
    EXPECT_TRUE(open != std::string::npos && close != std::string::npos) << line;
    if (open == std::string::npos || close == std::string::npos) continue;
    std::string name = line.substr(0, open);
    Family& family = families[current];
    if (family.type == "histogram") {
      for (const char* suffix : {"_bucket", "_sum", "_count"}) {
        if (name == current + suffix) name = current;
      }
    }
    EXPECT_EQ(name, current) << line;
    EXPECT_TRUE(family.type != "counter" || name.ends_with("_total")) << line;
    // No value in these tests has a comma or a quote in it.
    std::istringstream labels(line.substr(open + 1, close - open - 1));
    std::string label;
    while (std::getline(labels, label, ',')) {
      const size_t equals = label.find('=');
      if (label.substr(0, equals) == "le") {
        family.bounds.push_back(label.substr(equals + 2, label.size() - equals - 3));
      } else {
        family.labels.insert(label.substr(0, equals));
      }
    }
  }
  return families;
}

// "name type label,label" lines.
std::string Listed(const std::map<std::string, Family>& families, std::string_view prefix) {
  std::string out = "\n";
  for (const auto& [name, family] : families) {
    if (!name.starts_with(prefix)) continue;
    out += name.substr(prefix.size()) + " " + family.type + " ";
    for (const std::string& label : family.labels) out += label + ",";
    out.back() = '\n';
  }
  return out;
}

constexpr const char* kOurs = R"(
client_disconnects_total counter model_name
connections_refused_total counter model_name
connections_total counter model_name
deadlines_exceeded_total counter model_name
e2e_request_latency_seconds histogram model_name
engine_aborts_total counter model_name
engine_finished_total counter model_name,reason
engine_step_errors_total counter model_name
engine_step_seconds histogram model_name
engine_step_tokens histogram model_name
engine_steps_total counter model_name
generation_tokens_total counter model_name
grpc_responses_total counter code,method,model_name
host_memory_bytes gauge kind,model_name
host_memory_peak_bytes gauge model_name
http_responses_total counter class,model_name
ignored_fields_total counter model_name
inter_token_latency_seconds histogram model_name
key_generation_tokens_total counter key,model_name
key_prompt_tokens_total counter key,model_name
key_rejections_total counter key,model_name,reason
key_requests_total counter key,model_name
kv_block_size_tokens gauge model_name
kv_blocks_reusable gauge model_name
kv_blocks_total gauge model_name
kv_blocks_used gauge model_name
kv_cache_usage_ratio gauge model_name
num_requests_running gauge model_name
num_requests_waiting gauge model_name
open_connections gauge model_name
open_requests gauge model_name
paced_prefill_tokens gauge model_name
preemptions_total counter model_name
prefix_cache_hit_tokens_total counter model_name
prefix_cache_query_tokens_total counter model_name
prompt_tokens_total counter model_name
queued_requests gauge model_name
queued_tokens gauge model_name
request_decode_seconds histogram model_name
request_finished_total counter finished_reason,model_name
request_generation_tokens histogram model_name
request_prefill_seconds histogram model_name
request_prompt_tokens histogram model_name
request_queue_seconds histogram model_name
request_rejections_total counter model_name,reason
requests_total counter model_name
slow_clients_total counter model_name
time_to_first_token_seconds histogram model_name
tls_handshake_failures_total counter model_name
)";

constexpr const char* kVllm = R"(
admission_rejections_total counter engine,model_name,reason
cache_config_info gauge block_size,enable_prefix_caching,engine,num_gpu_blocks
e2e_request_latency_seconds histogram engine,model_name
engine_sleep_state gauge engine,model_name,sleep_state
external_prefix_cache_hits_total counter engine,model_name
external_prefix_cache_queries_total counter engine,model_name
generation_tokens_total counter engine,model_name
inter_token_latency_seconds histogram engine,model_name
iteration_tokens_total histogram engine,model_name
kv_cache_usage_perc gauge engine,model_name
lora_requests_info gauge max_lora,running_lora_adapters,waiting_lora_adapters
mm_cache_hits_total counter engine,model_name
mm_cache_queries_total counter engine,model_name
num_preemptions_total counter engine,model_name
num_requests_running gauge engine,model_name
num_requests_waiting gauge engine,model_name
num_requests_waiting_by_reason gauge engine,model_name,reason
prefix_cache_hits_total counter engine,model_name
prefix_cache_queries_total counter engine,model_name
prompt_tokens_by_source_total counter engine,model_name,source
prompt_tokens_cached_total counter engine,model_name
prompt_tokens_recomputed_total counter engine,model_name
prompt_tokens_total counter engine,model_name
request_decode_time_seconds histogram engine,model_name
request_generation_tokens histogram engine,model_name
request_inference_time_seconds histogram engine,model_name
request_max_num_generation_tokens histogram engine,model_name
request_num_preemptions histogram engine,model_name
request_params_max_tokens histogram engine,model_name
request_params_n histogram engine,model_name
request_prefill_kv_computed_tokens histogram engine,model_name
request_prefill_time_seconds histogram engine,model_name
request_prompt_tokens histogram engine,model_name
request_queue_time_seconds histogram engine,model_name
request_success_total counter engine,finished_reason,model_name
request_time_per_output_token_seconds histogram engine,model_name
spec_decode_num_accepted_tokens_total counter engine,model_name
spec_decode_num_draft_tokens_total counter engine,model_name
spec_decode_num_drafts_total counter engine,model_name
time_per_output_token_seconds histogram engine,model_name
time_to_first_token_seconds histogram engine,model_name
)";

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream words(text);
  std::string word;
  while (words >> word) out.push_back(word);
  return out;
}

const std::string kFirstToken =
    "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0 "
    "160.0 640.0 2560.0 +Inf";
const std::string kPerToken =
    "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0 +Inf";
const std::string kPerRequest =
    "0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 240.0 480.0 960.0 "
    "1920.0 7680.0 +Inf";
const std::string kSizes = "1.0 2.0 5.0 10.0 20.0 50.0 100.0 200.0 500.0 +Inf";  // to 512 tokens
const std::string kStep =
    "1.0 8.0 16.0 32.0 64.0 128.0 256.0 512.0 1024.0 2048.0 4096.0 8192.0 16384.0 +Inf";

TEST_F(Wire, MetricNamesTypesAndLabelsAreFrozen) {
  config_.api_keys = {"secret"};
  StartServer();
  const auto families = Parse(Ask("GET", "/metrics").body);
  EXPECT_EQ(Listed(families, "slipstream_"), kOurs);
  EXPECT_EQ(Listed(families, "vllm:"), "\n") << "only when asked for";
}

TEST_F(Wire, VllmNamesAreThoseOfItsDashboards) {
  config_.metrics_compat = "vllm";
  StartServer();
  EXPECT_EQ(Listed(Parse(Ask("GET", "/metrics").body), "vllm:"), kVllm);
}

TEST_F(Wire, BucketsAreThoseOfAMixedFleet) {
  config_.metrics_compat = "vllm";
  StartServer();
  auto families = Parse(Ask("GET", "/metrics").body);
  const auto expect = [&](const char* name, const std::string& bounds) {
    EXPECT_EQ(families[name].bounds, Split(bounds)) << name;
  };
  for (const std::string prefix : {"slipstream_", "vllm:"}) {
    expect((prefix + "time_to_first_token_seconds").c_str(), kFirstToken);
    expect((prefix + "inter_token_latency_seconds").c_str(), kPerToken);
    expect((prefix + "e2e_request_latency_seconds").c_str(), kPerRequest);
    expect((prefix + "request_prompt_tokens").c_str(), kSizes);
    expect((prefix + "request_generation_tokens").c_str(), kSizes);
  }
  expect("vllm:request_time_per_output_token_seconds", kPerToken);
  expect("vllm:time_per_output_token_seconds", kPerToken);
  for (const char* phase : {"queue", "prefill", "decode", "inference"}) {
    expect(fmt::format("vllm:request_{}_time_seconds", phase).c_str(), kPerRequest);
  }
  expect("vllm:request_params_max_tokens", kSizes);
  expect("vllm:request_max_num_generation_tokens", kSizes);
  expect("vllm:request_prefill_kv_computed_tokens", kSizes);
  expect("vllm:request_num_preemptions", "1.0 2.0 3.0 4.0 5.0 10.0 20.0 +Inf");
  expect("vllm:request_params_n", "1.0 2.0 5.0 10.0 20.0 +Inf");
  expect("vllm:iteration_tokens_total", kStep);
  expect("slipstream_engine_step_tokens", kStep);
}

const std::string kVllmLabels = "{model_name=\"tiny\",engine=\"0\"";

void ExpectParts(const std::string& page, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(page.find(part), std::string::npos) << part << page;
}

TEST_F(Wire, VllmNamesCarryTheSameFigures) {
  config_.metrics_compat = "vllm";
  StartServer();
  EXPECT_EQ(Complete({{"prompt", "abc"}, {"n", 2}, {"max_tokens", 2}}).status, 200);
  EXPECT_EQ(Complete({{"prompt", "abc"}, {"max_tokens", 100}}).status, 200);
  ASSERT_TRUE(BlocksComeBack());
  ExpectParts(Ask("GET", "/metrics").body,
              {"vllm:request_success_total" + kVllmLabels + ",finished_reason=\"length\"} 1\n",
               "vllm:request_success_total" + kVllmLabels + ",finished_reason=\"stop\"} 1\n",
               "vllm:request_queue_time_seconds_count" + kVllmLabels + "} 2\n",
               "vllm:request_prefill_time_seconds_count" + kVllmLabels + "} 2\n",
               "vllm:request_decode_time_seconds_count" + kVllmLabels + "} 2\n",
               "vllm:request_inference_time_seconds_count" + kVllmLabels + "} 2\n",
               "vllm:request_time_per_output_token_seconds_count" + kVllmLabels + "} 2\n",
               "vllm:request_params_n_sum" + kVllmLabels + "} 3\n",
               "vllm:request_params_max_tokens_sum" + kVllmLabels + "} 102\n",
               "vllm:request_max_num_generation_tokens_sum" + kVllmLabels + "} 5\n",
               "vllm:request_num_preemptions_count" + kVllmLabels + "} 2\n",
               "vllm:num_requests_waiting" + kVllmLabels + "} 0\n",
               "vllm:num_requests_waiting_by_reason" + kVllmLabels + ",reason=\"capacity\"} 0\n",
               "vllm:kv_cache_usage_perc" + kVllmLabels + "} 0\n",
               "vllm:cache_config_info{engine=\"0\",block_size=\"16\",num_gpu_blocks=\"512\","});
}

TEST_F(Wire, VllmNamesTellPromptTokensBySource) {
  config_.metrics_compat = "vllm";
  engine_config_.enable_prefix_caching = true;
  StartServer();
  const auto ask = [&](int num_tokens) {
    const std::vector<int> prompt(static_cast<size_t>(num_tokens), 'x');
    EXPECT_EQ(Complete({{"prompt", prompt}, {"max_tokens", 1}}).status, 200);
    EXPECT_TRUE(BlocksComeBack());
  };
  ask(40);
  ask(40);  // blocks of 16 tokens: 32 are found
  ask(33);  // all but the last
  ExpectParts(
      Ask("GET", "/metrics").body,
      {"vllm:prompt_tokens_total" + kVllmLabels + "} 113\n",
       "vllm:prompt_tokens_by_source_total" + kVllmLabels + ",source=\"local_compute\"} 49\n",
       "vllm:prompt_tokens_by_source_total" + kVllmLabels + ",source=\"local_cache_hit\"} 65\n",
       "vllm:prompt_tokens_by_source_total" + kVllmLabels + ",source=\"external_kv_transfer\"} 0\n",
       "vllm:prompt_tokens_cached_total" + kVllmLabels + "} 64\n",
       "vllm:prompt_tokens_recomputed_total" + kVllmLabels + "} 1\n",
       "vllm:request_prefill_kv_computed_tokens_sum" + kVllmLabels + "} 49\n",
       "vllm:spec_decode_num_drafts_total" + kVllmLabels + "} 0\n",
       "vllm:lora_requests_info{max_lora=\"0\",waiting_lora_adapters=\"\","});
}

}  // namespace
}  // namespace slipstream::testing
