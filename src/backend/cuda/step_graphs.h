// Recorded decode steps: one CUDA graph per rounded number of rows, captured when first needed and
// launched from then on (some milliseconds once). Owned by the CUDA backend, used on its thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "base/result.h"

namespace slipstream {

class StepGraphs {
 public:
  StepGraphs() = default;
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;
  ~StepGraphs() { Clear(); }

  // Launches the graph of `rows`. Without one, issues `ops` and then records them again for the
  // next time. What `ops` returns is returned; nothing is kept of a recording that failed.
  Status Run(int64_t rows, const std::function<Status()>& ops, cudaStream_t stream);
  void Clear();
  int64_t num_captured() const { return static_cast<int64_t>(graphs_.size()); }

 private:
  Result<cudaGraphExec_t> Capture(const std::function<Status()>& ops, cudaStream_t stream);

  std::unordered_map<int64_t, cudaGraphExec_t> graphs_;
};

}  // namespace slipstream
