// The Backend on one Hopper GPU: 16-bit weights and activations, kernels of kernels/cuda on one
// stream, decode steps replayed from recorded graphs, sampling behind the logits. Owned and used by
// one ModelRunner on its rank's thread. Contract and errors: backend/backend.h. An error of the
// device itself (fatal()) loses the whole process's work on it.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <memory>

#include "backend/backend.h"
#include "backend/cuda/cublaslt.h"
#include "backend/cuda/cuda_memory.h"
#include "backend/cuda/cuda_sampler.h"
#include "backend/cuda/cuda_weights.h"
#include "backend/cuda/step_graphs.h"
#include "backend/cuda/step_inputs.h"
#include "backend/cuda/step_profiler.h"

namespace slipstream {

class CudaBackend final : public Backend {
 public:
  static Result<std::unique_ptr<CudaBackend>> Make(const CudaOptions& options);
  ~CudaBackend() override;

  std::string_view name() const override { return "cuda"; }
  DType activation_dtype() const override { return options_.activation_dtype; }
  DType residual_dtype() const override {
    return options_.f32_residual ? DType::kF32 : options_.activation_dtype;
  }
  size_t free_memory_bytes() const override;
  bool supports_kv_dtype(DType dtype) const override { return dtype == options_.activation_dtype; }
  DType default_kv_dtype() const override { return options_.activation_dtype; }
  bool dedicated_memory() const override { return true; }
  int max_steps_in_flight() const override { return 2; }
  int token_tile() const override { return 128; }  // rows of a tile of cuBLASLt's Hopper kernels
  Result<DeviceSampler*> MakeDeviceSampler(int num_slots, int64_t vocab_size) override;

  Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) override;
  Status Upload(void* dst, const void* src, size_t bytes) override;
  Status Download(void* dst, const void* src, size_t bytes) override;

  Status ReserveStep(const StepLimits& limits, const ModelShape& shape) override;
  Result<StepRows> BeginStep(const StepArrays& arrays) override;
  std::vector<int> RecordedRows() const override;
  Status IssueStep(const std::function<void()>& ops) override;

  Result<std::unique_ptr<Linear>> MakeLinear(std::span<const WeightView> parts,
                                             std::span<const float> bias) override;
  Result<std::unique_ptr<Linear>> MakeGatedLinear(const WeightView& gate, const WeightView& up,
                                                  std::span<const float> bias) override;
  Result<std::unique_ptr<EmbeddingTable>> MakeEmbedding(const WeightView& table) override;
  Result<std::unique_ptr<Linear>> MakeTiedLinear(EmbeddingTable& table) override;

  void Embed(const EmbeddingTable& table, std::span<const int32_t> ids, float scale,
             TensorView out) override;
  void MatMul(const Linear& w, TensorView x, TensorView y) override;
  void RmsNorm(TensorView x, const float* weight, float eps, TensorView out) override;
  void AddRmsNorm(TensorView residual, TensorView delta, const float* weight, float eps,
                  TensorView out) override;
  void MatMulAddRmsNorm(const Linear& w, TensorView x, TensorView residual, const float* weight,
                        float eps, TensorView out) override;
  void MatMulGated(const Linear& w, TensorView x, ActivationKind kind, TensorView scratch,
                   TensorView out) override;
  void Add(TensorView x, TensorView y) override;
  void RopeAndWriteKv(TensorView qkv, int num_heads, const float* q_norm, const float* k_norm,
                      float eps, const RopeTable* rope, const AttentionBatch& batch,
                      const KvLayerView& kv) override;
  void Attention(TensorView qkv, const KvLayerView& kv, const AttentionBatch& batch,
                 const AttentionParams& params, TensorView out) override;
  void GatedActivation(TensorView gate_up, ActivationKind kind, TensorView out) override;
  void GatherRows(TensorView x, std::span<const int32_t> rows, TensorView out) override;
  void SoftCap(TensorView x, float cap) override;

  void StartProfile() override;
  Result<std::vector<StageTime>> ReadProfile() override { return profiler_.Read(); }
  Status Synchronize() override;
  bool fatal() const override { return fatal_; }

 private:
  explicit CudaBackend(const CudaOptions& options) : options_(options) {}
  Status Start();
  Status CheckShape(const StepLimits& limits, const ModelShape& shape) const;
  Result<std::unique_ptr<CudaLinear>> WrapMatrix(std::shared_ptr<DeviceBuffer> memory, int64_t rows,
                                                 int64_t cols) const;
  Status TakeError(Status status);
  // Keeps the first launch that failed; the step reports it. `bytes` is for the profile.
  void Check(kernels::KernelStatus status, const char* op, double bytes);
  Result<std::unique_ptr<CudaLinear>> Register(std::unique_ptr<CudaLinear> linear,
                                               std::span<const float> bias);
  void Product(const CudaLinear& linear, TensorView x, TensorView y,
               kernels::GemmStreamEpilogue epilogue, const char* epilogue_name);
  bool Fuses(int64_t tokens) const;
  void Activate(TensorView gate_up, ActivationKind kind, TensorView out, bool interleaved);
  Status StreamProduct(const CudaLinear& linear, TensorView x, TensorView y,
                       const kernels::GemmStreamEpilogue& epilogue);
  // `accumulate`: y += x W^T.
  Status LibraryProduct(const CudaLinear& linear, TensorView x, TensorView y, bool accumulate);
  bool Streams(int64_t tokens) const;  // rather than asking the library
  // The library adds to the float32 residual itself.
  bool AddsInLibrary() const { return options_.fused_epilogues && options_.f32_residual; }
  void FinishProduct(const Status& done, const CudaLinear& linear, const char* epilogue_name,
                     double activation_bytes);
  Status TuneProducts(const ModelShape& shape);
  void TuneShape(const CudaLinear& linear, MatMulArgs args, int64_t max_tokens);

  const CudaOptions options_;
  int num_sms_ = 0;
  cudaStream_t stream_ = nullptr;
  WeightUploader uploader_{DType::kBF16};
  std::unique_ptr<CublasLt> cublas_;  // null: not found here, long prompts are slower
  std::unique_ptr<DeviceBuffer> gemm_workspace_, cublas_workspace_, attention_scratch_,
      square_sums_;
  std::unique_ptr<StepInputs> inputs_;
  std::unique_ptr<CudaSampler> sampler_;
  StepGraphs graphs_;
  StepProfiler profiler_;
  StepLimits limits_;
  std::vector<const CudaLinear*> linears_;  // all there are; the model owns them
  // Rows whose division by the root mean square is left to the products that read them.
  struct Unscaled {
    const void* rows = nullptr;
    float eps = 0.0f;
  };
  Unscaled unscaled_;
  void Overwrites(const TensorView& out) {
    if (unscaled_.rows == out.data) unscaled_ = {};
  }
  Status step_error_;
  std::atomic<bool> fatal_{false};
};

}  // namespace slipstream
