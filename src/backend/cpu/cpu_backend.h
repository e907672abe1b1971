// The CPU backend: kernels of the machine's best instruction set, run on a fixed worker pool. Ops
// finish before they return; Synchronize only reports what went wrong since the last one (no
// memory for a workspace). Small ops run on the calling thread: waking workers would cost more.
// Owned and used by one ModelRunner on its rank's thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "backend/cpu/arena.h"
#include "backend/cpu/cpu_weights.h"
#include "backend/cpu/thread_pool.h"
#include "backend/cpu/workspace.h"
#include "kernels/api/cpu_kernels.h"

namespace slipstream {

class CpuBackend : public Backend {
 public:
  // REQUIRES: num_threads >= 1.
  CpuBackend(const kernels::CpuKernels& kernels, int num_threads);

  std::string_view name() const override { return name_; }
  DType activation_dtype() const override { return DType::kF32; }
  size_t free_memory_bytes() const override;
  bool supports_kv_dtype(DType dtype) const override {
    return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
  }
  Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) override;
  Result<std::unique_ptr<Linear>> MakeLinear(std::span<const WeightView> parts,
                                             std::span<const float> bias) override;
  Result<std::unique_ptr<EmbeddingTable>> MakeEmbedding(const WeightView& table) override;
  Result<std::unique_ptr<Linear>> MakeTiedLinear(EmbeddingTable& table) override;

  void Embed(const EmbeddingTable& table, std::span<const int32_t> ids, float scale,
             TensorView out) override;
  void MatMul(const Linear& w, TensorView x, TensorView y) override;
  void RmsNorm(TensorView x, const float* weight, float eps, TensorView out) override;
  void AddRmsNorm(TensorView residual, TensorView delta, const float* weight, float eps,
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
  Status Synchronize() override;

 private:
  // Runs fn on all workers, or here alone if the op touches fewer than kSerialElems elements.
  template <typename Fn>
  void RunSized(int64_t elems, Fn&& fn);
  // Fills prepared activations of `form` in their workspace; false if there is no memory.
  bool Prepare(kernels::ActForm form, TensorView x, kernels::PreparedRows* out);
  void NoMemory(const char* op);

  const kernels::CpuKernels& kernels_;
  std::string name_;
  ThreadPool pool_;
  std::shared_ptr<Arena> arena_;
  Workspace prepared_[3];  // by ActForm
  Workspace gemm_scratch_;
  Workspace attention_scratch_;
  Workspace attention_partials_;
  std::string error_;  // first since the last Synchronize
};

}  // namespace slipstream
