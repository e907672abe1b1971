#include "runtime/local_executor.h"

#include <optional>
#include <string>
#include <utility>

#include "runtime/model_runner.h"

namespace slipstream {
namespace {

// The CPU backend has no queue of its own, so a step runs inside Submit and waits for Collect.
class CpuLocalExecutor final : public LocalExecutor {
 public:
  explicit CpuLocalExecutor(std::unique_ptr<ModelRunner> runner) : runner_(std::move(runner)) {}

  const ExecutorInfo& info() const override { return runner_->info(); }

  Status Submit(ForwardInput input) override {
    if (finished_) return Internal("a step was submitted before the last one was collected");
    finished_ = runner_->Run(input);
    return {};
  }

  Result<StepOutput> Collect() override {
    if (!finished_) return Internal("no step to collect");
    Result<StepOutput> out = *std::exchange(finished_, std::nullopt);
    return out;
  }

  LocalExecutorStats stats() const override {
    const KvCacheShape& kv = runner_->kv_shape();
    return {.kv_cache_bytes = static_cast<int64_t>(kv.bytes()),
            .kv_dtype = NameOf(kv.dtype),
            .backend = runner_->backend_name()};
  }

 private:
  std::unique_ptr<ModelRunner> runner_;
  std::optional<Result<StepOutput>> finished_;
};

}  // namespace

Result<std::unique_ptr<LocalExecutor>> MakeLocalExecutor(const Checkpoint& checkpoint,
                                                         const EngineConfig& engine,
                                                         const RuntimeConfig& runtime) {
  if (runtime.device != "cpu") {
    return Fail(ErrorCode::kUnimplemented,
                "device \"" + runtime.device + "\" is unknown; this build has cpu", "device");
  }
  SLIP_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, MakeCpuBackend(runtime.num_threads));
  SLIP_ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner,
                        ModelRunner::Create(checkpoint, engine, runtime, std::move(backend)));
  return std::make_unique<CpuLocalExecutor>(std::move(runner));
}

}  // namespace slipstream
