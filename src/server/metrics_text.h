// All counters in the Prometheus text format (version 0.0.4). Reads relaxed atomics; any thread.
#pragma once

#include <string>

#include "engine/engine.h"
#include "server/server_metrics.h"

namespace slipstream {

std::string RenderMetrics(const ServerMetrics& server, const EngineMetrics& engine,
                          const std::string& model_name, int block_size_tokens);

}  // namespace slipstream
