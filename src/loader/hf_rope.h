// The rotary embedding part of config.json: rope_theta and rope_scaling of transformers 4,
// rope_parameters (flat, or per layer type) of transformers 5. Internal to the loader; pure.
#pragma once

#include "config/model_config.h"
#include "loader/json_reader.h"

namespace slipstream {

// Fills config->rope and rope_local_theta. REQUIRES: architecture and max_position are filled.
Status ReadHfRope(const JsonReader& json, ModelConfig* config);

}  // namespace slipstream
