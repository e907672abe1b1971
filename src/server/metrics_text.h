// All counters in the Prometheus text format (version 0.0.4): our names, and beside them those of
// vLLM when asked for, so that its dashboards, scalers and routers find what they know. Reads
// relaxed atomics; any thread; does not fail.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/api_keys.h"
#include "server/server_metrics.h"

namespace slipstream {

struct MetricsSources {
  const ServerMetrics& server;
  const EngineMetrics& engine;
  std::string model_name;
  int block_size_tokens = 0;
  bool vllm_names = false;
  bool prefix_caching = true;  // a label of vllm:cache_config_info
  std::vector<std::shared_ptr<KeyAccount>> keys;
};

std::string RenderMetrics(const MetricsSources& sources);

}  // namespace slipstream
