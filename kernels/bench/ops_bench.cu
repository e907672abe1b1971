// Speed of the kernels around products and attention at the Llama-3.1-8B shape: KV write and block
// copy, norms, gated activation, add, embedding. Each is timed in a CUDA graph of many calls, with
// plain and with dependent launches; "hot" repeats one set of buffers, as after a product that has
// just written them, "cold" walks through more than the L2 holds.
//   ops_bench [FILE of KV write and block copy] [FILE of the other ops] [commit]
#include <cuda_bf16.h>

#include <ctime>
#include <memory>
#include <numeric>
#include <random>
#include <string>

#include "kernels/bench/attention_harness.cuh"
#include "kernels/cuda/cache/block_copy.h"
#include "kernels/cuda/cache/kv_write.h"
#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/ops/ops.h"

namespace slipstream::bench {
namespace {

using namespace slipstream::kernels;

constexpr int kHidden = 4096, kFfn = 14336, kHeads = 32, kKvHeads = 8, kHeadDim = 128;
constexpr int kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
constexpr int kVocab = 128256, kBlock = 16, kMaxTokens = 8192, kPositions = 8192;
constexpr int kRows = 2 * kMaxTokens;  // rows of the buffers that the cold runs walk through
constexpr int kDecodeTokens = 64;      // up to here a token is a sequence, beyond a prompt
constexpr int kTokens[] = {1, 16, 64, 1024, kMaxTokens};
constexpr size_t kColdBytes = size_t{150} << 20;  // three times the L2

// One call on rows [row, row + tokens) of the buffers.
struct Op {
  std::string name, what;
  double bytes_per_token;  // read and written
  std::function<KernelStatus(int tokens, int row, bool dependent, cudaStream_t)> launch;
};

void Require(KernelStatus status, const Op& op) {
  if (status == KernelStatus::kOk) return;
  std::fprintf(stderr, "%s %s: launch failed: %s\n", op.name.c_str(), op.what.c_str(),
               cudaGetErrorString(cudaGetLastError()));
  std::exit(1);
}

// What a kernel costs that does nothing: the floor of every row with few tokens.
__global__ void __launch_bounds__(128) NothingKernel() {
  LaunchDependents();
  DependencyWait();
}

struct Report {
  Report(const char* path, const std::string& commit)
      : csv(path ? std::fopen(path, "w") : nullptr) {
    if (path && !csv) {
      std::perror(path);
      std::exit(1);
    }
    cudaDeviceProp properties;
    SLIP_CUDA(cudaGetDeviceProperties(&properties, 0));
    char date[16];
    const std::time_t now = std::time(nullptr);
    std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
    start = std::string(properties.name) + "," + date + "," + commit;
    if (csv) std::fprintf(csv, "card,date,commit,op,what,tokens,launch,l2,us,best_us,gbs\n");
  }
  ~Report() {
    if (csv) std::fclose(csv);
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  void Row(const Op& op, int tokens, const char* launch, bool cold, const Timing& time) {
    const double gbs = op.bytes_per_token * tokens / time.median_us * 1e-3;
    std::printf("%-13s %-16s %5d %-10s %-4s %9.2f us (best %9.2f) %7.0f GB/s\n", op.name.c_str(),
                op.what.c_str(), tokens, launch, cold ? "cold" : "hot", time.median_us,
                time.best_us, gbs);
    std::fflush(stdout);
    if (!csv) return;
    std::fprintf(csv, "%s,%s,%s,%d,%s,%s,%.2f,%.2f,%.0f\n", start.c_str(), op.name.c_str(),
                 op.what.c_str(), tokens, launch, cold ? "cold" : "hot", time.median_us,
                 time.best_us, gbs);
    std::fflush(csv);
  }

  std::FILE* csv;
  std::string start;  // card, date and commit
};

void Measure(const Op& op, int tokens, Report& report) {
  const int copies = kRows / tokens;
  const bool has_cold = tokens > kDecodeTokens && op.bytes_per_token * kRows > kColdBytes;
  for (const bool cold : {false, true}) {
    if (cold && !has_cold) continue;
    for (const bool dependent : {false, true}) {
      const int calls = cold ? 2 * copies : tokens > kDecodeTokens ? 8 : 64;
      const auto record = [&](cudaStream_t stream) {
        for (int i = 0; i < calls; ++i) {
          Require(op.launch(tokens, cold ? i % copies * tokens : 0, dependent, stream), op);
        }
      };
      const Timing time = TimeGraph(calls, record);
      report.Row(op, tokens, dependent ? "dependent" : "plain", cold, time);
    }
  }
}

class KvCase {
 public:
  KvCase()
      : qkv_(size_t{kRows} * kQkv),
        k_(size_t{kRows} * kKvHeads * kHeadDim * 2),
        v_(k_.size()),
        angles_(std::vector<float>(size_t{kPositions} * kHeadDim / 2, 0.7071068f)),
        norm_(std::vector<float>(kHeadDim, 1.0f)),
        slots_(kRows),
        scattered_(kRows),
        positions_(kRows) {
    Fill(qkv_.get(), qkv_.size() * 2, Pattern::kBF16, 1);
    std::vector<int64_t> blocks(kRows / kBlock), slots(kRows), scattered(kRows);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(3));
    std::vector<int32_t> positions(kRows);
    for (int t = 0; t < kRows; ++t) {
      slots[t] = blocks[t / kBlock] * kBlock + t % kBlock;
      scattered[t] = blocks[t % blocks.size()] * kBlock + t % kBlock;
      positions[t] = t % kPositions;
    }
    slots_.Upload(slots);
    scattered_.Upload(scattered);
    positions_.Upload(positions);
    SLIP_CUDA(cudaDeviceSynchronize());
  }

  Op Make(const char* what, DType kv_dtype, bool norms) const {
    const double kv = 2.0 * kKvHeads * kHeadDim;
    const double bytes = 2.0 * kHeads * kHeadDim * 2 + kv * (2 + GeometryOf(kv_dtype).block_bytes);
    return {"kv_write", what, bytes, [=, this](int tokens, int row, bool dependent, auto stream) {
              return KvWrite(Params(tokens, row, kv_dtype, norms), dependent, stream);
            }};
  }

 private:
  KvWriteParams Params(int tokens, int row, DType kv_dtype, bool norms) const {
    const int64_t tile = int64_t{kBlock} * kHeadDim * GeometryOf(kv_dtype).block_bytes;
    KvWriteParams p;
    uint16_t* q = qkv_.get() + int64_t{row} * kQkv;
    p.q = q;
    p.k = q + kHeads * kHeadDim;
    p.v = q + (kHeads + kKvHeads) * kHeadDim;
    p.q_token_stride = p.k_token_stride = p.v_token_stride = kQkv;
    p.kv = {k_.get(),        v_.get(), kv_dtype,       KvLayout::kSwizzled,
            tile * kKvHeads, tile,     kRows / kBlock, kBlock,
            kKvHeads,        kHeadDim};
    p.slot_ids = (tokens <= kDecodeTokens ? scattered_ : slots_).get() + row;
    p.positions = positions_.get() + row;
    p.cos = p.sin = angles_.get();
    if (norms) p.q_norm = p.k_norm = norm_.get();
    p.rope = RopeStyle::kNeox;
    p.rotary_dim = kHeadDim;
    p.num_tokens = tokens;
    p.num_heads = kHeads;
    return p;
  }

  DeviceArray<uint16_t> qkv_;
  DeviceArray<unsigned char> k_, v_;
  DeviceArray<float> angles_, norm_;
  DeviceArray<int64_t> slots_, scattered_;
  DeviceArray<int32_t> positions_;
};

// Blocks of 16 tokens of one layer's K or V, 32 KiB each, in `kLayers` pairs of buffers.
class CopyCase {
 public:
  static constexpr int kLayers = 32;
  static constexpr int64_t kBytes = int64_t{kBlock} * kKvHeads * kHeadDim * 2;
  static constexpr int kMaxPairs = 64, kCalls = 8;

  CopyCase() : cache_(size_t{2 * kLayers} * 2 * kMaxPairs * kBytes), pairs_(2 * kMaxPairs) {
    Fill(cache_.get(), cache_.size(), Pattern::kBF16, 5);
    std::vector<void*> buffers;
    for (int i = 0; i < 2 * kLayers; ++i) {
      buffers.push_back(cache_.get() + int64_t{i} * 2 * kMaxPairs * kBytes);
    }
    buffers_ = std::make_unique<DeviceArray<void*>>(buffers);
    std::vector<int32_t> pairs(2 * kMaxPairs);
    std::iota(pairs.begin(), pairs.end(), 0);
    std::shuffle(pairs.begin(), pairs.end(), std::mt19937(4));
    pairs_.Upload(pairs);
    SLIP_CUDA(cudaDeviceSynchronize());
  }

  // Tokens of the row: those of the blocks.
  void Run(Report& report) const {
    const double bytes = 2.0 * 2 * kLayers * kBytes / kBlock;
    const Op ours{"block_copy", "32 layers", bytes, {}};
    const Op memcpy{"block_copy", "one cudaMemcpy", bytes, {}};
    for (const int pairs : {1, 4, 16, kMaxPairs}) {
      const BlockCopyParams p{buffers_->get(), pairs_.get(), kBytes, kBytes, 2 * kLayers, pairs};
      const auto copy = [&](cudaStream_t stream) {
        for (int i = 0; i < kCalls; ++i) Require(BlockCopy(p, stream), ours);
      };
      report.Row(ours, pairs * kBlock, "plain", pairs == kMaxPairs, TimeGraph(kCalls, copy));
      const int64_t half = int64_t{2 * kLayers} * kBytes * pairs;  // the same bytes in one piece
      const auto one = [&](cudaStream_t stream) {
        for (int i = 0; i < kCalls; ++i) {
          SLIP_CUDA(cudaMemcpyAsync(cache_.get() + half, cache_.get(), half,
                                    cudaMemcpyDeviceToDevice, stream));
        }
      };
      report.Row(memcpy, pairs * kBlock, "plain", pairs == kMaxPairs, TimeGraph(kCalls, one));
    }
  }

 private:
  DeviceArray<unsigned char> cache_;
  DeviceArray<int32_t> pairs_;
  std::unique_ptr<DeviceArray<void*>> buffers_;
};

// Buffers of the row and elementwise kernels; every op has its own use for them.
class OpsCase {
 public:
  OpsCase()
      : wide_(size_t{kRows} * 2 * kFfn),
        half_(size_t{kRows} * kFfn),
        residual_(std::vector<float>(size_t{kRows} * kHidden, 1.0f)),
        weight_(std::vector<float>(kHidden, 1.0f)),
        table_(size_t{kVocab} * kHidden),
        ids_(kRows) {
    Fill(wide_.get(), wide_.size() * 2, Pattern::kBF16, 6);
    Fill(half_.get(), half_.size() * 2, Pattern::kBF16, 7);
    Fill(table_.get(), table_.size() * 2, Pattern::kBF16, 8);
    std::vector<int32_t> ids(kRows);
    std::mt19937 rng(9);
    for (int32_t& id : ids) id = static_cast<int32_t>(rng() % kVocab);
    ids_.Upload(ids);
    SLIP_CUDA(cudaDeviceSynchronize());
  }

  void Run(Report& report) const {
    for (const Op& op : Ops()) {
      for (const int tokens : kTokens) Measure(op, tokens, report);
    }
  }

 private:
  std::vector<Op> Ops() const {
    const auto norm = [this](int tokens, int row, bool dependent, auto stream) {
      return RmsNormSm90({Residual(row), weight_.get(), Out(row), DType::kF32, DType::kBF16, tokens,
                          kHidden, 1e-5f},
                         dependent, stream);
    };
    const auto add_norm = [this](int tokens, int row, bool dependent, auto stream) {
      return AddRmsNormSm90({Residual(row), Delta(row), weight_.get(), Out(row), DType::kF32,
                             DType::kBF16, tokens, kHidden, 1e-5f},
                            dependent, stream);
    };
    const auto add_norm_half = [this](int tokens, int row, bool dependent, auto stream) {
      return AddRmsNormSm90({Delta(row + kRows), Delta(row), weight_.get(), Out(row), DType::kBF16,
                             DType::kBF16, tokens, kHidden, 1e-5f},
                            dependent, stream);
    };
    const auto gated = [this](bool interleaved) {
      return [=, this](int tokens, int row, bool dependent, auto stream) {
        return GatedActivationSm90(
            {wide_.get() + int64_t{row} * 2 * kFfn, half_.get() + int64_t{row} * kFfn, DType::kBF16,
             tokens, kFfn, false, interleaved},
            dependent, stream);
      };
    };
    const auto add = [this](int tokens, int row, bool dependent, auto stream) {
      return AddSm90(Residual(row), DType::kF32, Delta(row), DType::kBF16,
                     int64_t{tokens} * kHidden, dependent, stream);
    };
    const auto embed = [this](int tokens, int row, bool dependent, auto stream) {
      return EmbedSm90({table_.get(), ids_.get() + row, nullptr, Residual(row), DType::kBF16,
                        DType::kF32, tokens, kVocab, kHidden, 0, 1.0f},
                       dependent, stream);
    };
    return {{"rms_norm", "f32 to bf16", 6.0 * kHidden, norm},
            {"add_rms_norm", "f32 residual", 12.0 * kHidden, add_norm},
            {"add_rms_norm", "bf16 residual", 8.0 * kHidden, add_norm_half},
            {"gated", "silu", 6.0 * kFfn, gated(false)},
            {"gated", "silu by eights", 6.0 * kFfn, gated(true)},
            {"add", "bf16 to f32", 10.0 * kHidden, add},
            {"embed", "bf16 to f32", 6.0 * kHidden, embed}};
  }

  float* Residual(int row) const { return residual_.get() + int64_t{row} * kHidden; }
  uint16_t* Delta(int row) const { return wide_.get() + int64_t{row} * kHidden; }
  uint16_t* Out(int row) const { return half_.get() + int64_t{row} * kHidden; }

  DeviceArray<uint16_t> wide_, half_;
  DeviceArray<float> residual_, weight_;
  DeviceArray<uint16_t> table_;
  DeviceArray<int32_t> ids_;
};

int Main(int argc, char** argv) {
  const std::string commit = argc > 3 ? argv[3] : "";
  {
    Report report(argc > 1 ? argv[1] : nullptr, commit);
    const KvCase kv;
    for (const Op& op :
         {kv.Make("bf16", DType::kBF16, false), kv.Make("bf16 q/k norm", DType::kBF16, true),
          kv.Make("e4m3", DType::kF8E4M3, false)}) {
      for (const int tokens : kTokens) Measure(op, tokens, report);
    }
    const CopyCase copy;
    copy.Run(report);
  }
  Report report(argc > 2 ? argv[2] : nullptr, commit);
  const Op nothing{
      "nothing", "one CTA", 0, [](int, int, bool dependent, cudaStream_t stream) {
        return LaunchBeside<NothingKernel>(LaunchShape{dim3(1), 128, 0, dependent}, stream);
      }};
  Measure(nothing, 1, report);
  const OpsCase ops;
  ops.Run(report);
  return 0;
}

}  // namespace
}  // namespace slipstream::bench

int main(int argc, char** argv) { return slipstream::bench::Main(argc, argv); }
