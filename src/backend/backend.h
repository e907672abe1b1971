// One interface for CPU and CUDA: memory, prepared weights, and one virtual call per op per layer.
// Owned and used by one ModelRunner on its rank's thread. Ops are asynchronous on devices: they
// order after each other, and Synchronize() waits. Arguments are views in the backend's memory,
// except the arrays of a step, which are the host's: a device has its own copies from BeginStep on.
// Errors: allocation failure and unsupported weight types at load; step-scope errors from BeginStep
// and Synchronize(). Ops themselves check shapes with SLIP_CHECK (callers are our own code).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/device_sampler.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace slipstream {

// Owns memory of a backend; freed with it. 64-byte aligned or better.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void* data() = 0;
  virtual size_t bytes() const = 0;
};

// A weight matrix in the form the backend computes on. Made once at load, const afterwards.
class Linear {
 public:
  virtual ~Linear() = default;
  virtual int64_t in_features() const = 0;   // K
  virtual int64_t out_features() const = 0;  // N
};

// Embedding table; also usable as the output projection when embeddings are tied.
class EmbeddingTable {
 public:
  virtual ~EmbeddingTable() = default;
};

enum class ActivationKind : uint8_t { kSilu, kGeluTanh };

// neox: the two halves of a head rotate together (Hugging Face layout).
// interleaved: neighbouring pairs rotate together (GGUF "llama" weights are permuted for it).
enum class RopeLayout : uint8_t { kNeox, kInterleaved };

// cos and sin of every position and frequency: [max_positions, rotary_dim / 2] f32 each, attention
// scaling factor already multiplied in.
struct RopeTable {
  const float* cos = nullptr;
  const float* sin = nullptr;
  int64_t max_positions = 0;
  int rotary_dim = 0;
  RopeLayout layout = RopeLayout::kNeox;
};

// K and V of one layer: k + block * block_stride + kv_head * head_stride is a contiguous tile of
// block_size * head_dim elements of `dtype`; the same for v. Strides are in elements. How a tile is
// laid out inside is the backend's own (the CPU keeps K tiles transposed): whole blocks may be
// copied, their insides not read.
struct KvLayerView {
  void* k = nullptr;
  void* v = nullptr;
  DType dtype = DType::kF32;
  int64_t block_stride = 0;
  int64_t head_stride = 0;
  int block_size = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
};

// The step's sequences, host arrays that live until the step ends. Same for every layer.
struct AttentionBatch {
  int num_seqs = 0;
  int num_tokens = 0;
  const int32_t* query_start = nullptr;   // [num_seqs + 1]
  const int32_t* kv_len = nullptr;        // [num_seqs], with this step's tokens
  const int32_t* block_tables = nullptr;  // [num_seqs, max_blocks]
  int max_blocks = 0;
  const int32_t* positions = nullptr;  // [num_tokens]
  const int64_t* slot_ids = nullptr;   // [num_tokens], block * block_size + offset
};

struct AttentionParams {
  int num_heads = 0;
  float scale = 1.0f;
  int sliding_window = 0;      // a query at p sees keys in (p - window, p]; 0: all
  float logit_softcap = 0.0f;  // cap * tanh(x / cap) before the mask; 0: none
};

// What a backend must have room for, known once at start.
struct StepLimits {
  int max_tokens = 0;      // in one step
  int max_logit_rows = 0;  // in one Logits
  int max_seqs = 0;        // in one step; 0: max_tokens
  int max_blocks = 0;      // of one sequence; 0: unknown, for backends without copies of the tables
  int block_size = 0;
  DType kv_dtype = DType::kF32;
  int64_t max_positions = 0;
};

// Sizes of a model that kernels and plans are chosen by.
struct ModelShape {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  std::vector<AttentionParams> kinds;  // of attention, one per distinct sliding window
};

// The arrays of a step; host memory, read during BeginStep on devices, until the step ends else.
struct StepArrays {
  std::span<const int32_t> token_ids;
  const AttentionBatch* batch = nullptr;
  std::span<const int32_t> logit_rows;  // ascending
};

// How many rows the ops of a step have. A device may round a step of single queries up, so that one
// recorded graph serves several batch sizes: rows beyond the step's own hold nothing.
struct StepRows {
  int64_t tokens = 0;
  int64_t logits = 0;
};

// What the ops of one kind cost in a step.
struct StageTime {
  std::string stage;
  int count = 0;
  double us = 0;
  double bytes = 0;  // moved to or from memory, at least
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  virtual DType activation_dtype() const = 0;  // kF32 on the CPU
  // Of the residual stream: what Embed writes, AddRmsNorm adds to, and norms read.
  virtual DType residual_dtype() const { return activation_dtype(); }
  virtual size_t free_memory_bytes() const = 0;
  // Whether attention reads and writes a KV cache of this type.
  virtual bool supports_kv_dtype(DType dtype) const { return dtype == DType::kF32; }
  virtual DType default_kv_dtype() const { return DType::kF32; }
  // Whether free memory is there for the model alone, so that the KV cache may take all of it.
  virtual bool dedicated_memory() const { return false; }
  // Steps that may be issued before the first one's results are read.
  virtual int max_steps_in_flight() const { return 1; }
  // Products of many tokens take as long as those of the next multiple of it.
  virtual int token_tile() const { return 1; }
  // Tokens that sampling left on the device; null: logits are sampled by the host. A step's token
  // id -1 - slot is resolved by the backend if and only if there is one. Owned by the backend.
  virtual Result<DeviceSampler*> MakeDeviceSampler(int num_slots, int64_t vocab_size) {
    (void)num_slots, (void)vocab_size;
    return nullptr;
  }

  virtual Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) = 0;
  // Copies between host and backend memory; Download waits for the ops before it.
  virtual Status Upload(void* dst, const void* src, size_t bytes);
  virtual Status Download(void* dst, const void* src, size_t bytes);

  // Sizes everything a step needs besides activations; once, at start. Fails for a model or limits
  // this backend has no kernels for.
  virtual Status ReserveStep(const StepLimits& limits, const ModelShape& shape) {
    (void)limits, (void)shape;
    return {};
  }
  // Starts a step: the ops that follow, up to the next BeginStep, refer to these arrays.
  virtual Result<StepRows> BeginStep(const StepArrays& arrays) {
    return StepRows{static_cast<int64_t>(arrays.token_ids.size()),
                    static_cast<int64_t>(arrays.logit_rows.size())};
  }
  // Numbers of single queries whose steps are worth issuing once before requests come, because they
  // will be replayed; empty where nothing is.
  virtual std::vector<int> RecordedRows() const { return {}; }
  // Issues the ops of the step begun last. `ops` calls ops of this backend and nothing else; a
  // device may record them once and replay them for later steps with the same StepRows, in which
  // case it does not call `ops`. REQUIRES: equal StepRows mean equal ops on equal memory.
  virtual Status IssueStep(const std::function<void()>& ops) {
    ops();
    return {};
  }

  // Stacks `parts` by rows into one matrix of in_features = parts[0].cols; parts may differ in
  // dtype. `bias` is empty or f32 [sum of rows]. The views are read during the call only.
  virtual Result<std::unique_ptr<Linear>> MakeLinear(std::span<const WeightView> parts,
                                                     std::span<const float> bias) = 0;
  // Stacks the two matrices of a gated MLP, of equal sizes, for MatMulGated and nothing else.
  virtual Result<std::unique_ptr<Linear>> MakeGatedLinear(const WeightView& gate,
                                                          const WeightView& up,
                                                          std::span<const float> bias);
  virtual Result<std::unique_ptr<EmbeddingTable>> MakeEmbedding(const WeightView& table) = 0;
  // The tied output projection of `table`, sharing its memory where the layout allows.
  virtual Result<std::unique_ptr<Linear>> MakeTiedLinear(EmbeddingTable& table) = 0;

  // out[i] = table[ids[i]] * scale.  out [ids.size(), hidden]
  virtual void Embed(const EmbeddingTable& table, std::span<const int32_t> ids, float scale,
                     TensorView out) = 0;
  // y = x W^T + bias.  x [M, K], y [M, N]. Each row's value does not depend on M.
  virtual void MatMul(const Linear& w, TensorView x, TensorView y) = 0;
  // out = x / rms(x) * weight, per row.  x, out [M, H] (may alias), weight [H] f32.
  virtual void RmsNorm(TensorView x, const float* weight, float eps, TensorView out) = 0;
  // residual += delta; out = RmsNorm(residual).  All [M, H]; out may alias delta.
  virtual void AddRmsNorm(TensorView residual, TensorView delta, const float* weight, float eps,
                          TensorView out) = 0;
  // residual += x W^T + bias; out = RmsNorm(residual). `out` is read by MatMul, MatMulAddRmsNorm
  // and MatMulGated only: a device may leave the division by the root mean square to them.
  virtual void MatMulAddRmsNorm(const Linear& w, TensorView x, TensorView residual,
                                const float* weight, float eps, TensorView out);
  // out = act(x Wg^T + bg) * (x Wu^T + bu) with the matrices of MakeGatedLinear.  out [M, F],
  // scratch [M, 2F]
  virtual void MatMulGated(const Linear& w, TensorView x, ActivationKind kind, TensorView scratch,
                           TensorView out);
  // x += y, elementwise.
  virtual void Add(TensorView x, TensorView y) = 0;
  // In place on rows of qkv [num_tokens, (num_heads + 2 * num_kv_heads) * head_dim]: RMS-normalises
  // each q and k head with q_norm / k_norm ([head_dim] f32, null: none), rotates q and k by the
  // batch's positions (table null: none), and writes k and v to the slots of `kv`.
  virtual void RopeAndWriteKv(TensorView qkv, int num_heads, const float* q_norm,
                              const float* k_norm, float eps, const RopeTable* rope,
                              const AttentionBatch& batch, const KvLayerView& kv) = 0;
  // out [num_tokens, num_heads * head_dim]; q is the first num_heads * head_dim columns of qkv.
  virtual void Attention(TensorView qkv, const KvLayerView& kv, const AttentionBatch& batch,
                         const AttentionParams& params, TensorView out) = 0;
  // out[m, f] = act(gate_up[m, f]) * gate_up[m, F + f].  gate_up [M, 2F], out [M, F]
  virtual void GatedActivation(TensorView gate_up, ActivationKind kind, TensorView out) = 0;
  // out[i] = x[rows[i]].  x [M, H]
  virtual void GatherRows(TensorView x, std::span<const int32_t> rows, TensorView out) = 0;
  // x = cap * tanh(x / cap)
  virtual void SoftCap(TensorView x, float cap) = 0;

  // From the next step on, times its ops one by one; slower. For benchmarks.
  virtual void StartProfile() {}
  // The ops of the last step; empty where the backend has no profile.
  virtual Result<std::vector<StageTime>> ReadProfile() { return std::vector<StageTime>(); }

  // Waits for everything issued; step-scope errors surface here.
  virtual Status Synchronize() = 0;
  // The device is lost: every further call fails.
  virtual bool fatal() const { return false; }
};

// num_threads 0: one per physical core this process may run on.
Result<std::unique_ptr<Backend>> MakeCpuBackend(int num_threads);

// How a product of few tokens runs ahead of what it waits for: its ring of weights in half or all
// of an SM's shared memory, and whether the kernel after it may start as soon as it has.
// kAuto: all of it, and early where a step has so few tokens that the launches dominate.
enum class WeightsAhead : uint8_t { kAuto, kHalf, kFull, kHalfEarly, kFullEarly };

// What decode attention loads of old KV before it waits for its inputs; kL2: the tiles behind the
// ring too, into L2.
enum class KvAhead : uint8_t { kNone, kRing, kL2 };

struct CudaOptions {
  int device = 0;
  DType activation_dtype = DType::kBF16;  // or kF16
  bool graphs = true;                     // replay recorded decode steps
  bool dependent_launch = true;           // let a kernel start while the one before it ends
  WeightsAhead weights_ahead = WeightsAhead::kAuto;
  KvAhead kv_ahead = KvAhead::kL2;
  bool f32_residual = true;  // else in activation_dtype
  // Norms and activations of steps of few tokens inside the products beside them.
  bool fused_epilogues = true;
};
// Fails with words where this build, the machine or the driver has no sm_90 device.
Result<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options);

}  // namespace slipstream
