// DeviceSampler of the CUDA backend: slots, counts and results in device memory, two steps deep.
// See backend/device_sampler.h for owner, thread and errors.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <deque>
#include <memory>

#include "backend/cuda/cuda_memory.h"
#include "backend/device_sampler.h"

namespace slipstream {

class CudaSampler final : public DeviceSampler {
 public:
  struct Limits {
    int num_slots = 0;
    int64_t vocab_size = 0;
    int64_t max_positions = 0;  // tokens of a sequence
    int max_tasks_per_step = 0;
    int max_tasks_per_sample = 0;
  };
  static Result<std::unique_ptr<CudaSampler>> Make(const Limits& limits, cudaStream_t stream,
                                                   bool dependent_launch);

  Status Load(std::span<const kernels::SamplingSlotLoad> loads,
              std::span<const int32_t> ids) override;
  Status Sample(TensorView logits, std::span<const kernels::SampleTask> tasks,
                std::span<const uint32_t* const> masks, bool last) override;
  Result<std::span<const kernels::SampledTokenRecord>> Collect() override;

  const int32_t* last_tokens() const { return state_.last_token; }
  int num_slots() const { return state_.num_slots; }

 private:
  // What one step in flight needs of its own.
  struct Turn {
    PinnedBuffer tasks, records, masks, mask_rows;
    CudaEvent done;
    int num_tasks = 0;
    int num_masks = 0;
  };
  struct LoadTurn {
    PinnedBuffer staging;
    CudaEvent copied;
  };

  CudaSampler(const Limits& limits, cudaStream_t stream, bool dependent_launch)
      : limits_(limits), stream_(stream), dependent_launch_(dependent_launch) {}
  Status AllocateState();
  Status AllocateTurns();
  // Uploads the masks of the tasks from `first` on and where each task finds its own.
  Status UploadMasks(Turn* turn, size_t first, std::span<const uint32_t* const> masks);
  Status LoadOne(const kernels::SamplingSlotLoad& load, std::span<const int32_t> ids);

  const Limits limits_;
  cudaStream_t stream_;
  bool dependent_launch_;
  kernels::SamplingState state_;
  std::unique_ptr<DeviceBuffer> slots_, last_token_, counts_, bias_, stops_;
  std::unique_ptr<DeviceBuffer> tasks_, records_, scratch_, loads_, masks_, mask_rows_;
  std::array<Turn, 2> turns_;
  std::array<LoadTurn, 2> load_turns_;
  int turn_ = 0;            // of the step being issued
  bool step_open_ = false;  // it has tasks already
  int load_turn_ = 0;       // of the next load
  std::deque<int> issued_;  // turns to collect, oldest first
};

}  // namespace slipstream
