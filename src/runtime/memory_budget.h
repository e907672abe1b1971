// How many KV blocks to make. A pure function of settings and free memory; any thread. Errors say
// what does not fit in bytes and tokens, and which setting changes it.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "config/engine_config.h"

namespace slipstream {

struct KvBudget {
  int64_t num_blocks = 0;
  int64_t kv_cache_bytes = 0;
  int64_t max_model_len = 0;  // tokens
};

struct KvDemand {
  int64_t bytes_per_token = 0;
  int64_t model_limit = 0;  // tokens the model was made for
  int64_t free_bytes = 0;
  bool takes_all = false;  // by default all of free_bytes, not what the machine can well spare
};

Result<KvBudget> PlanKvBudget(const EngineConfig& engine, const KvDemand& demand);

}  // namespace slipstream
