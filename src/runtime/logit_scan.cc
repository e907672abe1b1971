#include "runtime/logit_scan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

namespace slipstream {
namespace {

constexpr int kLanes = 16;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// exp(x) = 2^n * exp(r), |r| <= ln(2) / 2, with a degree 6 polynomial for exp(r). No branches, so
// that loops over it vectorise.
inline float FastExp(float x) {
  constexpr float kLog2e = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x > -87.0f ? x : -87.0f;
  const float n = (clamped * kLog2e + kRound) - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float scale = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return x > -87.0f ? p * scale : 0.0f;
}

inline float Weight(float x, float max, float inv_temperature, float floor) {
  const float e = FastExp((x - max) * inv_temperature);
  return x >= floor ? e : 0.0f;
}

// Largest of `count` values; ors into `bad` whether one is NaN.
float BlockMax(const float* x, int64_t count, int& bad) {
  float m[kLanes];
  int nan[kLanes] = {};
  std::fill(m, m + kLanes, kMinusInfinity);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float v = x[i + j];
      m[j] = v > m[j] ? v : m[j];
      nan[j] |= !(v == v);
    }
  }
  for (; i < count; ++i) {
    m[0] = x[i] > m[0] ? x[i] : m[0];
    nan[0] |= !(x[i] == x[i]);
  }
  for (int j = 1; j < kLanes; ++j) {
    m[0] = m[j] > m[0] ? m[j] : m[0];
    nan[0] |= nan[j];
  }
  bad |= nan[0];
  return m[0];
}

float BlockSum(const float* x, int64_t count, float max, float inv_temperature, float floor) {
  float s[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) s[j] += Weight(x[i + j], max, inv_temperature, floor);
  }
  for (; i < count; ++i) s[0] += Weight(x[i], max, inv_temperature, floor);
  float total = 0;
  for (int j = 0; j < kLanes; ++j) total += s[j];
  return total;
}

bool Better(const LogitCandidate& a, const LogitCandidate& b) {
  return a.value > b.value || (a.value == b.value && a.token < b.token);
}

}  // namespace

float ExpOfNegative(float x) { return FastExp(x); }

int32_t RankOf(std::span<const float> row, int32_t token) {
  const float value = row[token];
  const int64_t size = static_cast<int64_t>(row.size());
  int32_t before = 0;
  for (int64_t i = 0; i < token; ++i) before += row[i] >= value;
  for (int64_t i = token + 1; i < size; ++i) before += row[i] > value;
  return before + 1;
}

bool LogitScan::Load(std::span<const float> row) {
  row_ = row;
  const int64_t size = static_cast<int64_t>(row.size());
  block_max_.clear();
  int bad = 0;
  max_ = kMinusInfinity;
  for (int64_t b = 0; b < size; b += kBlock) {
    block_max_.push_back(BlockMax(row.data() + b, std::min(kBlock, size - b), bad));
    max_ = std::max(max_, block_max_.back());
  }
  return bad == 0 && std::isfinite(max_);
}

int32_t LogitScan::Argmax() const {
  const auto block = std::find(block_max_.begin(), block_max_.end(), max_) - block_max_.begin();
  const auto begin = row_.begin() + block * kBlock;
  return static_cast<int32_t>(std::find(begin, row_.end(), max_) - row_.begin());
}

double LogitScan::SumExp(float inv_temperature, float floor) {
  const int64_t size = static_cast<int64_t>(row_.size());
  inv_temperature_ = inv_temperature;
  floor_ = floor;
  block_sum_.clear();
  double total = 0;
  for (int64_t b = 0; b < size; b += kBlock) {
    const int64_t count = std::min(kBlock, size - b);
    block_sum_.push_back(BlockSum(row_.data() + b, count, max_, inv_temperature, floor));
    total += block_sum_.back();
  }
  return total;
}

int32_t LogitScan::TokenAtSum(double target) const {
  // Rounding may leave the running sum a little short of `target`: the last entry that has any
  // weight is the answer then.
  int64_t block = 0, last_block = 0;
  double before = 0;
  for (; block < static_cast<int64_t>(block_sum_.size()); ++block) {
    if (block_sum_[block] > 0) last_block = block;
    if (before + block_sum_[block] > target) break;
    before += block_sum_[block];
  }
  if (block == static_cast<int64_t>(block_sum_.size())) {
    block = last_block;
    target = std::numeric_limits<double>::infinity();
  }
  const int64_t begin = block * kBlock;
  const int64_t end = std::min<int64_t>(begin + kBlock, row_.size());
  int64_t chosen = begin;
  for (int64_t i = begin; i < end; ++i) {
    const float w = Weight(row_[i], max_, inv_temperature_, floor_);
    if (w <= 0) continue;
    chosen = i;
    before += w;
    if (before > target) break;
  }
  return static_cast<int32_t>(chosen);
}

const std::vector<LogitCandidate>& LogitScan::Largest(int64_t k) {
  // The k-th largest block maximum is a lower bound of the k-th largest entry, so blocks below it
  // need not be looked at.
  float bound = kMinusInfinity;
  if (k <= static_cast<int64_t>(block_max_.size())) {
    order_ = block_max_;
    std::nth_element(order_.begin(), order_.begin() + (k - 1), order_.end(), std::greater<>());
    bound = order_[k - 1];
  }
  candidates_.clear();
  const int64_t size = static_cast<int64_t>(row_.size());
  for (int64_t b = 0; b < static_cast<int64_t>(block_max_.size()); ++b) {
    if (block_max_[b] < bound) continue;
    const int64_t end = std::min((b + 1) * kBlock, size);
    for (int64_t i = b * kBlock; i < end; ++i) {
      if (row_[i] >= bound) candidates_.push_back({row_[i], static_cast<int32_t>(i)});
    }
  }
  if (static_cast<int64_t>(candidates_.size()) > k) {
    std::nth_element(candidates_.begin(), candidates_.begin() + (k - 1), candidates_.end(), Better);
    candidates_.resize(k);
  }
  std::sort(candidates_.begin(), candidates_.end(), Better);
  return candidates_;
}

}  // namespace slipstream
