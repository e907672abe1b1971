#include "backend/cuda/step_profiler.h"

#include <utility>

namespace slipstream {

void StepProfiler::Record(size_t index, cudaStream_t stream) {
  while (events_.size() <= index) events_.push_back(std::make_unique<TimedEvent>());
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  cudaStreamIsCapturing(stream, &capture);
  // In a recording the event must fire at every replay, not order the recording's own nodes.
  cudaEventRecordWithFlags(
      events_[index]->get(), stream,
      capture == cudaStreamCaptureStatusActive ? cudaEventRecordExternal : cudaEventRecordDefault);
}

void StepProfiler::BeginStep(cudaStream_t stream) {
  if (!on_) return;
  points_.clear();
  Record(0, stream);
}

void StepProfiler::Mark(std::string stage, double bytes, cudaStream_t stream) {
  if (!on_) return;
  points_.push_back({std::move(stage), bytes});
  Record(points_.size(), stream);
}

Result<std::vector<StageTime>> StepProfiler::Read() {
  std::vector<StageTime> out;
  if (!on_ || points_.empty()) return out;
  SLIP_RETURN_IF_ERROR(
      CudaOk(cudaEventSynchronize(events_[points_.size()]->get()), "reading a step's profile"));
  for (size_t i = 0; i < points_.size(); ++i) {
    float ms = 0;
    SLIP_RETURN_IF_ERROR(CudaOk(cudaEventElapsedTime(&ms, events_[i]->get(), events_[i + 1]->get()),
                                "reading a step's profile"));
    StageTime* stage = nullptr;
    for (StageTime& known : out) {
      if (known.stage == points_[i].stage) stage = &known;
    }
    if (stage == nullptr) stage = &out.emplace_back(StageTime{points_[i].stage, 0, 0, 0});
    stage->count++;
    stage->us += ms * 1e3;
    stage->bytes += points_[i].bytes;
  }
  return out;
}

}  // namespace slipstream
