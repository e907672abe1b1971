// What the load generator sends and when: length distributions and arrival times, drawn from one
// seed so that a run can be repeated on another server. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace slipstream {

// "512", "uniform:128:1024", "normal:512:100" (at least 1) or "lognormal:512:0.5" (median, sigma).
class LengthDistribution {
 public:
  static Result<LengthDistribution> Parse(const std::string& text);
  int Draw(uint64_t seed, uint64_t index) const;

 private:
  enum class Kind { kFixed, kUniform, kNormal, kLogNormal } kind_ = Kind::kFixed;
  double a_ = 0, b_ = 0;
};

struct PlannedRequest {
  double at_seconds = 0;  // since the start; ignored in a closed loop
  int input_tokens = 0;
  int output_tokens = 0;
};

struct WorkloadOptions {
  std::string arrival = "closed";  // closed, poisson, fixed, trace
  double rate = 1;                 // requests per second of poisson and fixed
  std::string trace;               // CSV file: seconds,input_tokens,output_tokens
  int num_requests = 100;
  std::string input_tokens = "512";
  std::string output_tokens = "128";
  uint64_t seed = 0;
};
Result<std::vector<PlannedRequest>> PlanWorkload(const WorkloadOptions& options);

}  // namespace slipstream
