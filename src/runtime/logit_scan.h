// Passes over one row of logits, written so that the compiler vectorises them: maxima, sums of
// exponentials, the k largest. Plain functions over host memory plus one reusable scratch object
// per sampler; one thread each. Nothing fails; a row with NaN or +inf is reported as not finite.
//
// Ties always go to the lowest token id, so that results do not depend on how a row is cut up.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace slipstream {

struct LogitCandidate {
  float value = 0;
  int32_t token = 0;
};

// The exponential that every function here uses; x <= 0, relative error below 1e-6.
float ExpOfNegative(float x);

// Number of entries that come before `token` when sorted by value descending, id ascending, plus 1.
int32_t RankOf(std::span<const float> row, int32_t token);

class LogitScan {
 public:
  // Reads `row` once; the other functions refer to it. False when it holds NaN or +inf, or nothing
  // but -inf. The row must not change until the last of them is called.
  bool Load(std::span<const float> row);

  float max() const { return max_; }
  int32_t Argmax() const;
  // Sum of exp((x - max) / temperature) over entries >= `floor`. Keeps the sums of its blocks.
  double SumExp(float inv_temperature, float floor);
  // The entry at which the running sum of the last SumExp passes `target`.
  int32_t TokenAtSum(double target) const;
  // The `k` largest entries, best first. REQUIRES: 1 <= k <= row size.
  const std::vector<LogitCandidate>& Largest(int64_t k);

 private:
  static constexpr int64_t kBlock = 128;

  std::span<const float> row_;
  float max_ = 0;
  std::vector<float> block_max_;  // of every kBlock entries
  std::vector<float> block_sum_;  // of the last SumExp
  float inv_temperature_ = 1, floor_ = 0;
  std::vector<float> order_;  // scratch of Largest
  std::vector<LogitCandidate> candidates_;
};

}  // namespace slipstream
