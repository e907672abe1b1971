// Offline throughput of the engine without a server: prompt processing, decoding of one sequence,
// decoding of several at once. Runs the real scheduler, runtime and sampler on random token ids.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/engine_config.h"
#include "tools/options.h"

namespace slipstream {

struct OfflineBenchOptions {
  ModelOptions model;
  EngineConfig engine;  // max_num_seqs 0: enough for `batch`
  RuntimeConfig runtime;
  int prompt_tokens = 512;  // of each sequence; 0: skip the prompt test
  int gen_tokens = 128;     // of each sequence; 0: skip the decode test
  int batch = 1;            // sequences at once
  int depth = 0;  // tokens in the context when decoding starts; 0: prompt_tokens if batch > 1, or 1
  int repetitions = 5;
  std::string csv;  // append rows here
  std::string commit = "unknown";
};

struct BenchRow {
  std::string test;  // pp512, tg128, tg64@16
  double tok_s = 0;  // mean over repetitions
  double deviation = 0;
};

Result<std::vector<BenchRow>> RunOfflineBench(const OfflineBenchOptions& options);

}  // namespace slipstream
