#include "tools/load/workload.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <numbers>
#include <sstream>

#include "base/rng.h"

namespace slipstream {
namespace {

constexpr double kMaxLength = 1e7;
constexpr double kMaxSeconds = 1e7;

// The whole of `text` as a number, else NaN, which fits no range.
double ToNumber(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' ? value : std::nan("");
}

double Normal(uint64_t seed, uint64_t index) {  // Box-Muller
  const double u = 1.0 - UniformAt(seed, 2 * index), v = UniformAt(seed, 2 * index + 1);
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

Result<std::vector<PlannedRequest>> ReadTrace(const std::string& path) {
  std::ifstream in(path);
  if (!in) return Fail(ErrorCode::kNotFound, fmt::format("trace {}: cannot be read", path));
  std::vector<PlannedRequest> plan;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty() || line[0] == '#' || line.starts_with("seconds")) continue;
    PlannedRequest r;
    if (std::sscanf(line.c_str(), "%lf,%d,%d", &r.at_seconds, &r.input_tokens, &r.output_tokens) !=
            3 ||
        !(r.at_seconds >= 0 && r.at_seconds <= kMaxSeconds) || r.input_tokens < 1 ||
        r.output_tokens < 1) {
      return InvalidArgument(
          fmt::format("trace {} line {}: want seconds,input_tokens,output_tokens", path, number));
    }
    plan.push_back(r);
  }
  std::stable_sort(plan.begin(), plan.end(),
                   [](const auto& a, const auto& b) { return a.at_seconds < b.at_seconds; });
  return plan;
}

}  // namespace

Result<LengthDistribution> LengthDistribution::Parse(const std::string& text) {
  LengthDistribution d;
  std::istringstream in(text);
  std::string kind, a, b;
  std::getline(in, kind, ':');
  std::getline(in, a, ':');
  std::getline(in, b, ':');
  if (a.empty()) {
    d.a_ = ToNumber(kind);
  } else {
    d.kind_ = kind == "uniform"     ? Kind::kUniform
              : kind == "normal"    ? Kind::kNormal
              : kind == "lognormal" ? Kind::kLogNormal
                                    : Kind::kFixed;
    d.a_ = ToNumber(a);
    d.b_ = ToNumber(b);
  }
  const bool known = a.empty() || d.kind_ != Kind::kFixed;
  const double least = d.kind_ == Kind::kUniform ? d.a_ : 0;
  const bool has_second = a.empty() || (d.b_ >= least && d.b_ <= kMaxLength);
  if (!known || !has_second || !(d.a_ >= 1 && d.a_ <= kMaxLength)) {
    return InvalidArgument(fmt::format(
        "length \"{}\": want N, uniform:LOW:HIGH, normal:MEAN:SD or lognormal:MEDIAN:SIGMA", text));
  }
  return d;
}

int LengthDistribution::Draw(uint64_t seed, uint64_t index) const {
  double x = a_;
  if (kind_ == Kind::kUniform) x = a_ + std::floor(UniformAt(seed, index) * (b_ - a_ + 1));
  if (kind_ == Kind::kNormal) x = a_ + b_ * Normal(seed, index);
  if (kind_ == Kind::kLogNormal) x = a_ * std::exp(b_ * Normal(seed, index));
  return static_cast<int>(std::clamp(std::round(x), 1.0, kMaxLength));
}

Result<std::vector<PlannedRequest>> PlanWorkload(const WorkloadOptions& o) {
  if (o.arrival == "trace") return ReadTrace(o.trace);
  if (o.arrival != "closed" && !(o.rate > 0)) {
    return InvalidArgument("rate must be above 0", "rate");
  }
  SLIP_ASSIGN_OR_RETURN(const auto input, LengthDistribution::Parse(o.input_tokens));
  SLIP_ASSIGN_OR_RETURN(const auto output, LengthDistribution::Parse(o.output_tokens));
  std::vector<PlannedRequest> plan(o.num_requests);
  double at = 0;
  for (int i = 0; i < o.num_requests; ++i) {
    plan[i] = {at, input.Draw(MixBits(o.seed + 1), i), output.Draw(MixBits(o.seed + 2), i)};
    at += o.arrival == "poisson" ? -std::log(1.0 - UniformAt(MixBits(o.seed + 3), i)) / o.rate
                                 : 1 / o.rate;
  }
  return plan;
}

}  // namespace slipstream
