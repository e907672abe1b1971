// An Executor over one ModelRunner on this machine: opens nothing itself, runs steps on a rank
// thread (CPU: the calling thread's worker pool). Sizes KV memory once, in one allocation.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "config/engine_config.h"
#include "loader/checkpoint.h"
#include "runtime/executor.h"

namespace slipstream {

struct LocalExecutorStats {
  int64_t kv_cache_bytes = 0;
  std::string kv_dtype;
  std::string backend;
};

class LocalExecutor : public Executor {
 public:
  virtual LocalExecutorStats stats() const = 0;
  // Backend::StartProfile and ReadProfile; with nothing in flight.
  virtual void StartProfile() = 0;
  virtual Result<std::vector<StageTime>> ReadProfile() = 0;
};

// Errors say what does not fit, in bytes and tokens.
Result<std::unique_ptr<LocalExecutor>> MakeLocalExecutor(const Checkpoint& checkpoint,
                                                         const EngineConfig& engine,
                                                         const RuntimeConfig& runtime);

}  // namespace slipstream
