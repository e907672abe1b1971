// The option tables of the engine and the runtime, shared by the subcommands that run a model.
#pragma once

#include <vector>

#include "config/engine_config.h"
#include "config/option_table.h"
#include "loader/checkpoint.h"

namespace slipstream {

struct ModelOptions {
  std::string path;
  std::string load_format = "auto";
  std::string dummy_dtype = "bf16";
};

// Processors that this process may run on. Workers spin between ops, so more of them than that only
// take each other's time: num_threads goes no further.
int UsableProcessors();

// Appends what every command that runs a model takes. The targets must outlive `options`.
void AppendModelRunOptions(std::vector<Option>* options, ModelOptions* model, EngineConfig* engine,
                           RuntimeConfig* runtime);

LoadOptions ToLoadOptions(const ModelOptions& options);

}  // namespace slipstream
