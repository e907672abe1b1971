#include "model/rope_table.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "model/upload.h"

namespace slipstream {
namespace {

// The shortest table worth making; short prompts never grow it.
constexpr int64_t kMinPositions = 512;

std::vector<float> DefaultFrequencies(double theta, int64_t dim) {
  std::vector<float> inv_freq(dim / 2);
  for (int64_t i = 0; i < dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    inv_freq[i] = 1.0f / std::pow(static_cast<float>(theta), exponent);
  }
  return inv_freq;
}

// Long wavelengths are interpolated, short ones kept, those between are blended.
void ScaleLlama3(const RopeConfig& rope, double original_max, std::vector<float>& inv_freq) {
  const double low_wavelength = original_max / rope.low_freq_factor;
  const double high_wavelength = original_max / rope.high_freq_factor;
  for (float& f : inv_freq) {
    const double wavelength = 2.0 * std::numbers::pi / f;
    if (wavelength < high_wavelength) continue;
    if (wavelength > low_wavelength) {
      f = static_cast<float>(f / rope.factor);
      continue;
    }
    const double smooth = (original_max / wavelength - rope.low_freq_factor) /
                          (rope.high_freq_factor - rope.low_freq_factor);
    f = static_cast<float>((1.0 - smooth) * f / rope.factor + smooth * f);
  }
}

// The (real-valued) dimension whose frequency turns `rotations` times over the original context.
double YarnDim(double rotations, double dim, double theta, double original_max) {
  return dim * std::log(original_max / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(theta));
}

void ScaleYarn(const RopeConfig& rope, int64_t dim, double original_max,
               std::vector<float>& inv_freq) {
  double low = YarnDim(rope.beta_fast, dim, rope.theta, original_max);
  double high = YarnDim(rope.beta_slow, dim, rope.theta, original_max);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // the ramp becomes a step, not a division by zero
  for (int64_t i = 0; i < dim / 2; ++i) {
    const double ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);
    inv_freq[i] = static_cast<float>(inv_freq[i] / rope.factor * ramp + inv_freq[i] * (1.0 - ramp));
  }
}

Status CheckRope(const RopeConfig& rope, int64_t rotary_dim) {
  if (rotary_dim <= 0 || rotary_dim % 2 != 0) {
    return InvalidArgument("rope: head_dim must be even and positive, not " +
                           std::to_string(rotary_dim));
  }
  if (!(rope.theta > 1.0)) {
    return InvalidArgument("rope: theta must be over 1, not " + std::to_string(rope.theta));
  }
  if (rope.scaling != RopeScalingKind::kNone && !(rope.factor > 0.0)) {
    return InvalidArgument("rope: factor must be positive, not " + std::to_string(rope.factor));
  }
  if (rope.scaling == RopeScalingKind::kLlama3 &&
      !(rope.low_freq_factor > 0.0 && rope.high_freq_factor > rope.low_freq_factor)) {
    return InvalidArgument("rope: llama3 needs 0 < low_freq_factor < high_freq_factor");
  }
  if (rope.scaling == RopeScalingKind::kYarn && !(rope.beta_fast > 0.0 && rope.beta_slow > 0.0)) {
    return InvalidArgument("rope: yarn needs positive beta_fast and beta_slow");
  }
  if (!rope.freq_factors.empty() &&
      static_cast<int64_t>(rope.freq_factors.size()) != rotary_dim / 2) {
    return InvalidArgument("rope: " + std::to_string(rope.freq_factors.size()) +
                           " frequency factors for " + std::to_string(rotary_dim / 2) +
                           " frequencies");
  }
  return {};
}

}  // namespace

Result<RopeFrequencies> ComputeRopeFrequencies(const RopeConfig& rope, int64_t rotary_dim,
                                               int64_t max_position_embeddings) {
  SLIP_RETURN_IF_ERROR(CheckRope(rope, rotary_dim));
  RopeFrequencies out;
  out.inv_freq = DefaultFrequencies(rope.theta, rotary_dim);
  const double original_max = static_cast<double>(
      rope.original_max_position > 0 ? rope.original_max_position : max_position_embeddings);
  switch (rope.scaling) {
    case RopeScalingKind::kNone:
      break;
    case RopeScalingKind::kLinear:
      for (float& f : out.inv_freq) f /= static_cast<float>(rope.factor);
      break;
    case RopeScalingKind::kLlama3:
      ScaleLlama3(rope, original_max, out.inv_freq);
      break;
    case RopeScalingKind::kYarn:
      ScaleYarn(rope, rotary_dim, original_max, out.inv_freq);
      out.attention_scaling = static_cast<float>(rope.attention_factor.value_or(
          rope.factor <= 1.0 ? 1.0 : 0.1 * std::log(rope.factor) + 1.0));
      break;
  }
  for (size_t i = 0; i < rope.freq_factors.size(); ++i) out.inv_freq[i] /= rope.freq_factors[i];
  return out;
}

Status RopeCache::Cover(int64_t num_positions, Backend& backend) {
  if (num_positions <= table_.max_positions) return {};
  const int64_t half = static_cast<int64_t>(frequencies_.inv_freq.size());
  const int64_t rows = std::max<int64_t>(
      kMinPositions, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(num_positions))));
  std::vector<float> values(2 * rows * half);
  float* cosines = values.data();
  float* sines = cosines + rows * half;
  for (int64_t p = 0; p < rows; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(p) * frequencies_.inv_freq[i];
      cosines[p * half + i] = std::cos(angle) * frequencies_.attention_scaling;
      sines[p * half + i] = std::sin(angle) * frequencies_.attention_scaling;
    }
  }
  SLIP_ASSIGN_OR_RETURN(memory_, UploadFloats(backend, values));
  const float* base = static_cast<const float*>(memory_->data());
  table_ = {base, base + rows * half, rows, static_cast<int>(2 * half), layout_};
  return {};
}

}  // namespace slipstream
