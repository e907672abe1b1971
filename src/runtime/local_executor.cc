#include "runtime/local_executor.h"

#include <algorithm>
#include <deque>
#include <string>
#include <utility>

#include "backend/devices.h"
#include "base/host_memory.h"
#include "runtime/model_runner.h"

namespace slipstream {
namespace {

class RunnerExecutor final : public LocalExecutor {
 public:
  explicit RunnerExecutor(std::unique_ptr<ModelRunner> runner) : runner_(std::move(runner)) {}

  const ExecutorInfo& info() const override { return runner_->info(); }
  int max_in_flight() const override { return runner_->max_in_flight(); }
  bool fatal() const override { return runner_->fatal(); }

  Status Submit(ForwardInput input) override {
    if (static_cast<int>(results_.size()) >= max_in_flight()) {
      return Internal("a step was submitted before the oldest one was collected");
    }
    // What a step that cannot be issued says comes with Collect, in its turn.
    results_.push_back(runner_->Submit(input));
    return {};
  }

  bool takes_late_masks() const override { return max_in_flight() > 1; }

  void SupplyMasks(std::vector<uint32_t> masks) override {
    if (!results_.empty() && results_.back()) results_.back() = runner_->SupplyMasks(masks);
  }

  Result<StepOutput> Collect() override {
    if (results_.empty()) return Internal("no step to collect");
    const Status submitted = std::move(results_.front());
    results_.pop_front();
    if (!submitted) return tl::unexpected(submitted.error());
    return runner_->Collect();
  }

  void StartProfile() override { runner_->backend().StartProfile(); }
  Result<std::vector<StageTime>> ReadProfile() override { return runner_->backend().ReadProfile(); }

  LocalExecutorStats stats() const override {
    const KvCacheShape& kv = runner_->kv_shape();
    return {.kv_cache_bytes = static_cast<int64_t>(kv.bytes()),
            .kv_dtype = NameOf(kv.dtype),
            .backend = runner_->backend_name()};
  }

 private:
  std::unique_ptr<ModelRunner> runner_;
  std::deque<Status> results_;  // of the steps to collect
};

bool HasHopper() {
  const auto devices = ListCudaDevices();
  return devices && std::any_of(devices->begin(), devices->end(), [](const Device& device) {
           return device.detail.starts_with("sm_90");
         });
}

Result<std::unique_ptr<Backend>> MakeBackend(const RuntimeConfig& runtime) {
  const bool choose = runtime.device == "auto";
  if (runtime.device == "cpu" || (choose && !HasHopper())) {
    return MakeCpuBackend(runtime.num_threads);
  }
  if (!choose && runtime.device != "cuda") {
    return Fail(ErrorCode::kUnimplemented,
                "device \"" + runtime.device + "\" is unknown; there are auto, cpu and cuda",
                "device");
  }
  CudaOptions options;
  options.device = runtime.cuda_device;
  options.activation_dtype = runtime.dtype == "f16" ? DType::kF16 : DType::kBF16;
  options.graphs = runtime.cuda_graphs;
  options.dependent_launch = runtime.dependent_launch;
  options.weights_ahead = runtime.weights_ahead == "half"         ? WeightsAhead::kHalf
                          : runtime.weights_ahead == "half_early" ? WeightsAhead::kHalfEarly
                          : runtime.weights_ahead == "full_early" ? WeightsAhead::kFullEarly
                          : runtime.weights_ahead == "full"       ? WeightsAhead::kFull
                                                                  : WeightsAhead::kAuto;
  options.kv_ahead = runtime.kv_ahead == "none"   ? KvAhead::kNone
                     : runtime.kv_ahead == "ring" ? KvAhead::kRing
                                                  : KvAhead::kL2;
  options.f32_residual = runtime.f32_residual;
  options.fused_epilogues = runtime.fused_epilogues;
  return MakeCudaBackend(options);
}

}  // namespace

Result<std::unique_ptr<LocalExecutor>> MakeLocalExecutor(const Checkpoint& checkpoint,
                                                         const EngineConfig& engine,
                                                         const RuntimeConfig& runtime) {
  SLIP_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, MakeBackend(runtime));
  LogHostMemory("starting the backend");
  SLIP_ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner,
                        ModelRunner::Create(checkpoint, engine, runtime, std::move(backend)));
  return std::make_unique<RunnerExecutor>(std::move(runner));
}

}  // namespace slipstream
