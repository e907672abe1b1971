// From the states that steps return to a request's embedding. Pure functions, engine thread.
#pragma once

#include <vector>

#include "engine/sequence.h"

namespace slipstream {

inline void AddPooled(const std::vector<double>& sum, SequenceGroup* group) {
  group->pooled.resize(sum.size());
  for (size_t i = 0; i < sum.size(); ++i) group->pooled[i] += sum[i];
}

inline std::vector<float> EmbeddingOf(const SequenceGroup& group) {
  const bool mean = group.request.pooling == Pooling::kMean;
  const double scale = mean ? 1.0 / static_cast<double>(group.request.prompt_ids.size()) : 1.0;
  std::vector<float> out;
  out.reserve(group.pooled.size());
  for (const double x : group.pooled) out.push_back(static_cast<float>(x * scale));
  return out;
}

}  // namespace slipstream
