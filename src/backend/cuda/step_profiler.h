// Times the ops of a step one by one with events between the kernels, which also keeps them from
// overlapping: the sum is what the step costs kernel after kernel. Owned by the CUDA backend, used
// on its thread; off until Start.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/cuda_memory.h"

namespace slipstream {

class StepProfiler {
 public:
  void Start() { on_ = true; }
  bool on() const { return on_; }

  // Before the first op of a step that is issued or recorded.
  void BeginStep(cudaStream_t stream);
  // After an op that moved `bytes` to or from memory.
  void Mark(std::string stage, double bytes, cudaStream_t stream);
  // The stages of the last step issued or replayed, in order of first appearance, ops of one name
  // added up. Waits for it. Empty when off.
  Result<std::vector<StageTime>> Read();

 private:
  struct Point {
    std::string stage;
    double bytes = 0;
  };
  void Record(size_t index, cudaStream_t stream);

  bool on_ = false;
  std::vector<Point> points_;
  std::vector<std::unique_ptr<TimedEvent>> events_;  // [points + 1], kept for the next step
};

}  // namespace slipstream
