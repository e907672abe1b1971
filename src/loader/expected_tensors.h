// The tensors that a checkpoint of a given configuration holds: names and shapes without data. Used
// to make dummy weights and to tell what a real checkpoint lacks or has too much. Pure, any thread.
#pragma once

#include <vector>

#include "config/model_config.h"
#include "loader/checkpoint.h"

namespace slipstream {

// REQUIRES: `config` passed CheckModelConfig. Norms are the vectors called "...norm.weight".
std::vector<CheckpointTensor> ExpectedTensors(const ModelConfig& config);

}  // namespace slipstream
