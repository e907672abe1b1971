// `slipstream bench step`: the time of one decode step at a batch size and context, as the engine
// runs it (steps overlapping where the backend allows), without scheduler and server. The KV cache
// holds zeros, which costs what any values cost. share_of_floor: weights and KV of a step at the
// bandwidth of `ceiling_gbs`, over the time measured. With `profile` also the ops of a step, timed
// one after the other.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/engine_config.h"
#include "tools/options.h"

namespace slipstream {

struct StepBenchOptions {
  ModelOptions model;
  EngineConfig engine;
  RuntimeConfig runtime;
  // BATCHxCONTEXT, or BATCHxCONTEXT:QUERIES for a chunk of a prompt after CONTEXT tokens. None: of
  // a standard list those that the model's context and the KV cache hold.
  std::vector<std::string> shapes;
  bool profile = false;
  int steps = 100;            // timed, after warm-up
  double ceiling_gbs = 3119;  // a read-only kernel on one H100
  std::string csv;
  std::string commit = "unknown";
};

struct StepBenchRow {
  int batch = 0;
  int context = 0;
  int queries = 1;     // tokens of each sequence in the step
  double ms = 0;       // mean over the steps
  double share = 0;    // of the floor's rate
  double host_us = 0;  // of a step: what Submit takes
};

Result<std::vector<StepBenchRow>> RunStepBench(const StepBenchOptions& options);

}  // namespace slipstream
