#include "loader/hf_rope.h"

#include <fmt/core.h>

#include <cmath>

namespace slipstream {
namespace {

double Mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

Status ReadYarn(const JsonReader& json, const ModelConfig& config, RopeConfig* rope) {
  rope->scaling = RopeScalingKind::kYarn;
  if (!json.Has("factor") && rope->original_max_position > 0) {
    rope->factor = static_cast<double>(config.max_position_embeddings) /
                   static_cast<double>(rope->original_max_position);
  } else {
    SLIP_ASSIGN_OR_RETURN(rope->factor, json.Float("factor"));
  }
  SLIP_ASSIGN_OR_RETURN(rope->beta_fast, json.Float("beta_fast", 32.0));
  SLIP_ASSIGN_OR_RETURN(rope->beta_slow, json.Float("beta_slow", 1.0));
  SLIP_ASSIGN_OR_RETURN(rope->truncate, json.Bool("truncate", true));
  if (json.Has("attention_factor")) {
    SLIP_ASSIGN_OR_RETURN(rope->attention_factor, json.Float("attention_factor"));
    return {};
  }
  SLIP_ASSIGN_OR_RETURN(const double mscale, json.Float("mscale", 0.0));
  SLIP_ASSIGN_OR_RETURN(const double mscale_all_dim, json.Float("mscale_all_dim", 0.0));
  if (mscale != 0.0 && mscale_all_dim != 0.0) {
    rope->attention_factor = Mscale(rope->factor, mscale) / Mscale(rope->factor, mscale_all_dim);
  }
  return {};
}

Status ReadLlama3(const JsonReader& json, RopeConfig* rope) {
  rope->scaling = RopeScalingKind::kLlama3;
  SLIP_ASSIGN_OR_RETURN(rope->factor, json.Float("factor"));
  SLIP_ASSIGN_OR_RETURN(rope->low_freq_factor, json.Float("low_freq_factor"));
  SLIP_ASSIGN_OR_RETURN(rope->high_freq_factor, json.Float("high_freq_factor"));
  return {};
}

// `json`: rope_scaling or rope_parameters.
Status ReadScaling(const JsonReader& json, const ModelConfig& config, RopeConfig* rope) {
  SLIP_ASSIGN_OR_RETURN(const std::string old_key, json.String("type", "default"));
  SLIP_ASSIGN_OR_RETURN(const std::string kind, json.String("rope_type", old_key));
  SLIP_ASSIGN_OR_RETURN(rope->theta, json.Float("rope_theta", rope->theta));
  SLIP_ASSIGN_OR_RETURN(rope->original_max_position,
                        json.Int("original_max_position_embeddings", 0));
  SLIP_ASSIGN_OR_RETURN(const double rotated, json.Float("partial_rotary_factor", 1.0));
  if (kind == "default" && rotated == 1.0) return {};
  if (kind == "yarn") return ReadYarn(json, config, rope);
  if (kind == "llama3") return ReadLlama3(json, rope);
  if (kind == "linear") {
    rope->scaling = RopeScalingKind::kLinear;
    SLIP_ASSIGN_OR_RETURN(rope->factor, json.Float("factor"));
    return {};
  }
  return Fail(ErrorCode::kUnimplemented,
              fmt::format("{}: rope scaling '{}' is not supported (supported: default, linear, "
                          "llama3, yarn, over whole heads)",
                          json.file(), rotated == 1.0 ? kind : "partial_rotary_factor"));
}

// One dictionary per kind of layer.
Status ReadPerLayerType(const JsonReader& json, ModelConfig* config) {
  SLIP_ASSIGN_OR_RETURN(const auto full, json.Object("full_attention"));
  if (full) SLIP_RETURN_IF_ERROR(ReadScaling(*full, *config, &config->rope));
  SLIP_ASSIGN_OR_RETURN(const auto local, json.Object("sliding_attention"));
  if (!local) return {};
  RopeConfig local_rope;
  local_rope.theta = *config->rope_local_theta;
  SLIP_RETURN_IF_ERROR(ReadScaling(*local, *config, &local_rope));
  if (local_rope.scaling != RopeScalingKind::kNone) {
    return Fail(
        ErrorCode::kUnimplemented,
        fmt::format("{}: rope scaling of sliding_attention layers is not supported", json.file()));
  }
  config->rope_local_theta = local_rope.theta;
  return {};
}

}  // namespace

Status ReadHfRope(const JsonReader& json, ModelConfig* config) {
  const bool gemma3 = config->architecture == "gemma3";
  SLIP_ASSIGN_OR_RETURN(config->rope.theta, json.Float("rope_theta", gemma3 ? 1e6 : 1e4));
  if (gemma3) {
    SLIP_ASSIGN_OR_RETURN(config->rope_local_theta, json.Float("rope_local_base_freq", 1e4));
  }
  SLIP_ASSIGN_OR_RETURN(const auto parameters, json.Object("rope_parameters"));
  if (parameters && gemma3 &&
      (parameters->Has("full_attention") || parameters->Has("sliding_attention"))) {
    return ReadPerLayerType(*parameters, config);
  }
  if (parameters) return ReadScaling(*parameters, *config, &config->rope);
  SLIP_ASSIGN_OR_RETURN(const auto scaling, json.Object("rope_scaling"));
  if (scaling) return ReadScaling(*scaling, *config, &config->rope);
  return {};
}

}  // namespace slipstream
