// The limits an engine works within: what the executor offers, narrowed by the settings, and the
// check that a request respects them. Pure functions, any thread; ValidateRequest fails with
// kInvalidArgument naming the field and the limit.
#pragma once

#include "base/result.h"
#include "config/engine_config.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "runtime/executor.h"

namespace slipstream {

// A sequence never outgrows the whole block pool, so the pool bounds the context as well: a
// sequence that reaches the bound ends with kLength, as at the model's own limit.
ExecutorInfo EffectiveInfo(const EngineConfig& config, const ExecutorInfo& executor);

SchedulerLimits LimitsOf(const EngineConfig& config, const ExecutorInfo& effective);

Status ValidateRequest(const Request& request, const ExecutorInfo& effective);

}  // namespace slipstream
