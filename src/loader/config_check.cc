#include "loader/config_check.h"

#include <fmt/core.h>

#include <cmath>

namespace slipstream {
namespace {

Status InRange(const std::string& file, const char* name, double value, double low, double high) {
  if (std::isfinite(value) && value >= low && value <= high) return {};
  return InvalidArgument(
      fmt::format("{}: {} is {:g}, must be from {:g} to {:g}", file, name, value, low, high));
}

Status CheckSizes(const ModelConfig& c, const std::string& file) {
  const struct {
    const char* name;
    int64_t value, low, high;
  } sizes[] = {
      {"vocab_size", c.vocab_size, 1, 1 << 24},
      {"hidden_size", c.hidden_size, 1, 1 << 17},
      {"intermediate_size", c.intermediate_size, 1, 1 << 20},
      {"num_hidden_layers", c.num_layers, 1, 1024},
      {"num_attention_heads", c.num_heads, 1, 1024},
      {"num_key_value_heads", c.num_kv_heads, 1, c.num_heads},
      {"head_dim", c.head_dim, 2, 1024},
      {"max_position_embeddings", c.max_position_embeddings, 1, 1 << 30},
      {"sliding_window", c.sliding_window, 0, 1 << 30},
      {"original_max_position_embeddings", c.rope.original_max_position, 0, 1 << 30},
  };
  for (const auto& s : sizes) {
    SLIP_RETURN_IF_ERROR(InRange(file, s.name, static_cast<double>(s.value),
                                 static_cast<double>(s.low), static_cast<double>(s.high)));
  }
  if (c.num_heads % c.num_kv_heads != 0) {
    return InvalidArgument(
        fmt::format("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", file,
                    c.num_heads, c.num_kv_heads));
  }
  if (c.head_dim % 2 != 0) {
    return InvalidArgument(fmt::format("{}: head_dim {} is odd", file, c.head_dim));
  }
  if (!c.layer_uses_window.empty() &&
      c.layer_uses_window.size() != static_cast<size_t>(c.num_layers)) {
    return InvalidArgument(fmt::format("{}: layer_types has {} entries for {} layers", file,
                                       c.layer_uses_window.size(), c.num_layers));
  }
  return {};
}

Status CheckRope(const ModelConfig& c, const std::string& file) {
  const RopeConfig& r = c.rope;
  SLIP_RETURN_IF_ERROR(InRange(file, "rope_theta", r.theta, 1, 1e15));
  SLIP_RETURN_IF_ERROR(InRange(file, "rope scaling factor", r.factor, 1e-3, 1e6));
  SLIP_RETURN_IF_ERROR(InRange(file, "rope low_freq_factor", r.low_freq_factor, 1e-6, 1e6));
  SLIP_RETURN_IF_ERROR(InRange(file, "rope high_freq_factor", r.high_freq_factor, 1e-6, 1e6));
  SLIP_RETURN_IF_ERROR(InRange(file, "rope beta_fast", r.beta_fast, 1e-6, 1e6));
  SLIP_RETURN_IF_ERROR(InRange(file, "rope beta_slow", r.beta_slow, 1e-6, 1e6));
  SLIP_RETURN_IF_ERROR(
      InRange(file, "rope attention_factor", r.attention_factor.value_or(1.0), 1e-6, 1e6));
  SLIP_RETURN_IF_ERROR(
      InRange(file, "rope_local_base_freq", c.rope_local_theta.value_or(1e4), 1, 1e15));
  if (r.scaling == RopeScalingKind::kLlama3 && r.high_freq_factor == r.low_freq_factor) {
    return InvalidArgument(fmt::format(
        "{}: rope low_freq_factor and high_freq_factor are equal ({:g})", file, r.low_freq_factor));
  }
  if (!r.freq_factors.empty() && r.freq_factors.size() != static_cast<size_t>(c.head_dim / 2)) {
    return InvalidArgument(fmt::format("{}: rope_freqs.weight has {} factors, head_dim {} needs {}",
                                       file, r.freq_factors.size(), c.head_dim, c.head_dim / 2));
  }
  for (const float f : r.freq_factors) {
    SLIP_RETURN_IF_ERROR(InRange(file, "a factor of rope_freqs.weight", f, 1e-6, 1e6));
  }
  return {};
}

}  // namespace

Status CheckModelConfig(const ModelConfig& c, const std::string& file) {
  SLIP_RETURN_IF_ERROR(CheckSizes(c, file));
  SLIP_RETURN_IF_ERROR(CheckRope(c, file));
  SLIP_RETURN_IF_ERROR(InRange(file, "rms_norm_eps", c.rms_norm_eps, 1e-12, 1));
  SLIP_RETURN_IF_ERROR(InRange(file, "query_pre_attn_scalar", c.query_pre_attn_scalar, 0, 1e6));
  SLIP_RETURN_IF_ERROR(InRange(file, "attn_logit_softcapping", c.attn_logit_softcap, 0, 1e6));
  SLIP_RETURN_IF_ERROR(InRange(file, "final_logit_softcapping", c.final_logit_softcap, 0, 1e6));
  for (const int32_t id : c.eos_token_ids) {
    SLIP_RETURN_IF_ERROR(InRange(file, "eos_token_id", id, 0, INT32_MAX));
  }
  if (c.bos_token_id)
    SLIP_RETURN_IF_ERROR(InRange(file, "bos_token_id", *c.bos_token_id, 0, INT32_MAX));
  if (c.hidden_act != "silu" && c.hidden_act != "gelu_pytorch_tanh") {
    return Fail(ErrorCode::kUnimplemented,
                fmt::format("{}: hidden_act '{}' is not supported (supported: silu, "
                            "gelu_pytorch_tanh)",
                            file, c.hidden_act));
  }
  return {};
}

}  // namespace slipstream
