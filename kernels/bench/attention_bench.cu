// Decode attention on one GPU: time per layer call and KV GB/s, cold L2, inside a CUDA graph.
//   attention_bench SUITE [key=value ...]
// SUITE: ceiling | peers | paper | sweep | chain | fp8 | shape. Keys: commit, date, out (CSV file,
// appended), stages, distance, min_tiles, reps, adjacent, pdl, block, and for `shape`: hq, hkv,
// batch, context, impl (slipstream, paper_base, paper_prefetch). The shapes are those of the peers'
// benchmark and of arXiv 2504.06319.
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>

#include "kernels/bench/attention_harness.cuh"
#include "kernels/bench/chain_link.h"
#include "kernels/cuda/attention/decode_prefetch.h"
#include "kernels/cuda/attention/paper_baseline.h"

namespace slipstream::bench {
namespace {

using namespace slipstream::kernels;

std::map<std::string, std::string> options;
std::string Option(const std::string& key, const std::string& fallback) {
  const auto it = options.find(key);
  return it == options.end() ? fallback : it->second;
}
int IntOption(const std::string& key, int fallback) {
  return std::atoi(Option(key, std::to_string(fallback)).c_str());
}

struct Shape {
  int hq, hkv, batch, context;  // context 0: ragged, 128..16384
  DType dtype = DType::kBF16;
};

std::vector<int32_t> Lengths(const Shape& s) {
  std::vector<int32_t> lens(s.batch, s.context);
  if (s.context > 0) return lens;
  std::mt19937 rng(7);
  std::uniform_real_distribution<double> u;
  for (auto& x : lens) x = static_cast<int32_t>(128 * std::pow(16384.0 / 128, u(rng)));
  return lens;
}

constexpr int kDim = 128;

// KV of enough layers that nothing stays in L2, one table for all of them.
class Problem {
 public:
  explicit Problem(const Shape& s, int block = 16, bool adjacent = false)
      : shape(s), lens(Lengths(s)), block_size(block) {
    elem = s.dtype == DType::kF8E4M3 ? 1 : 2;
    total = std::accumulate(lens.begin(), lens.end(), int64_t{0});
    kv_bytes = total * s.hkv * kDim * elem * 2;
    layers = std::max<int>(2, std::min<int64_t>(32, (600000000 + kv_bytes - 1) / kv_bytes));
    for (int x : lens) {
      max_blocks = std::max(max_blocks, (x + block - 1) / block);
      num_blocks += (x + block - 1) / block;
    }
    std::vector<int32_t> ids(num_blocks), table(size_t(s.batch) * max_blocks);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(3));
    size_t next = 0;
    for (int i = 0; i < s.batch; ++i) {
      for (int b = 0; b < (lens[i] + block - 1) / block; ++b)
        table[i * max_blocks + b] = ids[next++];
    }
    tile_bytes = int64_t{block} * kDim * elem;
    head_stride = tile_bytes * (adjacent ? 2 : 1);
    block_stride = head_stride * s.hkv;
    value_offset = adjacent ? tile_bytes : block_stride * num_blocks;
    const Pattern pattern = s.dtype == DType::kF16      ? Pattern::kF16
                            : s.dtype == DType::kF8E4M3 ? Pattern::kE4M3
                                                        : Pattern::kBF16;
    for (int l = 0; l < layers; ++l) {
      caches.emplace_back(tile_bytes * 2 * s.hkv * num_blocks);
      Fill(caches.back().get(), caches.back().size(), pattern, 17 * l + 1);
    }
    const size_t q_elems = size_t(s.batch) * s.hq * kDim;
    q = std::make_unique<DeviceArray<uint16_t>>(q_elems);
    out = std::make_unique<DeviceArray<uint16_t>>(q_elems);
    Fill(q->get(), q_elems * 2, s.dtype == DType::kF16 ? Pattern::kF16 : Pattern::kBF16, 99);
    tables = std::make_unique<DeviceArray<int32_t>>(table);
    kv_len = std::make_unique<DeviceArray<int32_t>>(lens);
    SLIP_CUDA(cudaDeviceSynchronize());
  }

  PagedAttentionParams Params(int layer) const {
    PagedAttentionParams p;
    p.q = q->get();
    p.out = out->get();
    p.q_dtype = shape.dtype == DType::kF16 ? DType::kF16 : DType::kBF16;
    p.q_token_stride = p.out_token_stride = int64_t{shape.hq} * kDim;
    p.kv = {caches[layer].get(), caches[layer].get() + value_offset,
            shape.dtype,         KvLayout::kSwizzled,
            block_stride,        head_stride,
            num_blocks,          block_size,
            shape.hkv,           kDim};
    p.block_tables = tables->get();
    p.kv_len = kv_len->get();
    p.num_seqs = shape.batch;
    p.num_heads = shape.hq;
    p.max_blocks = max_blocks;
    p.scale = 1.0f / std::sqrt(float{kDim});
    return p;
  }

  Shape shape;
  std::vector<int32_t> lens;
  int block_size, elem = 2, layers = 0, max_blocks = 0, num_blocks = 0;
  int64_t total = 0, kv_bytes = 0, tile_bytes = 0, head_stride = 0, block_stride = 0;
  int64_t value_offset = 0;
  std::vector<DeviceArray<unsigned char>> caches;
  std::unique_ptr<DeviceArray<uint16_t>> q, out;
  std::unique_ptr<DeviceArray<int32_t>> tables, kv_len;
};

int NumSms() {
  int n = 0;
  SLIP_CUDA(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, 0));
  return n;
}

// Plan and scratch of our kernel for one problem.
class Ours {
 public:
  Ours(const Problem& problem, const DecodeTuning& tuning) : problem_(problem), tuning_(tuning) {
    shape_.num_kv_heads = problem.shape.hkv;
    shape_.group = problem.shape.hq / problem.shape.hkv;
    shape_.kv_dtype = problem.shape.dtype;
    shape_.grid = NumSms();
    shape_.max_seqs = problem.shape.batch;
    shape_.min_tiles_per_cta = tuning.min_tiles_per_cta;
    std::vector<DecodeSegment> words(DecodePlanBytes(shape_) / sizeof(DecodeSegment));
    BuildDecodePlan(shape_, {problem.lens, {}}, std::as_writable_bytes(std::span(words)));
    plan_ = std::make_unique<DeviceArray<DecodeSegment>>(words);
    scratch_ = std::make_unique<DeviceArray<unsigned char>>(DecodeScratchBytes(shape_));
    SLIP_CUDA(cudaMemset(scratch_->get(), 0xFF, scratch_->size()));
  }
  void Call(int layer, cudaStream_t stream) const {
    if (DecodePrefetchSm90(problem_.Params(layer), shape_, plan_->get(), scratch_->get(), tuning_,
                           stream) != KernelStatus::kOk) {
      std::fprintf(stderr, "launch failed: %s\n", cudaGetErrorString(cudaGetLastError()));
      std::exit(1);
    }
  }

 private:
  const Problem& problem_;
  DecodeTuning tuning_;
  DecodePlanShape shape_;
  std::unique_ptr<DeviceArray<DecodeSegment>> plan_;
  std::unique_ptr<DeviceArray<unsigned char>> scratch_;
};

DecodeTuning TuningFromOptions(const DecodeTuning& base) {
  DecodeTuning t = base;
  t.stages = IntOption("stages", t.stages);
  t.prefetch_distance = IntOption("distance", t.prefetch_distance);
  t.prefetch_start = IntOption("start", t.prefetch_start);
  t.min_tiles_per_cta = IntOption("min_tiles", t.min_tiles_per_cta);
  t.dependent_launch = IntOption("pdl", 0) != 0;
  return t;
}

void Report(const Problem& p, const std::string& impl, int distance, const Timing& t) {
  static const std::string card = [] {
    cudaDeviceProp prop;
    SLIP_CUDA(cudaGetDeviceProperties(&prop, 0));
    return std::string(prop.name);
  }();
  const double gbs = p.kv_bytes / t.median_us / 1e3;
  const std::string context = p.shape.context > 0 ? std::to_string(p.shape.context) : "128-16384";
  std::printf("%2d/%-2d %3d x %-9s %7.1f MB %-16s d%-2d %8.2f us (best %8.2f) %6.0f GB/s\n",
              p.shape.hq, p.shape.hkv, p.shape.batch, context.c_str(), p.kv_bytes / 1e6,
              impl.c_str(), distance, t.median_us, t.best_us, gbs);
  std::fflush(stdout);
  const std::string path = Option("out", "");
  if (path.empty()) return;
  std::FILE* f = std::fopen(path.c_str(), "a");
  if (!f) return;
  std::fprintf(f, "%s,%s,%s,%d,%d,%d,%s,%d,%d,%s,%s,%d,%.2f,%.0f\n", card.c_str(),
               Option("date", "").c_str(), Option("commit", "").c_str(), p.shape.hq, p.shape.hkv,
               kDim, NameOf(p.shape.dtype), p.block_size, p.shape.batch, context.c_str(),
               impl.c_str(), distance, t.median_us, gbs);
  std::fclose(f);
}

Timing TimeOurs(const Problem& p, const DecodeTuning& tuning) {
  const Ours ours(p, tuning);
  return TimeGraph(
      p.layers,
      [&](cudaStream_t s) {
        for (int l = 0; l < p.layers; ++l) ours.Call(l, s);
      },
      IntOption("reps", 9));
}

Timing TimePaper(const Problem& p, bool prefetch) {
  return TimeGraph(
      p.layers,
      [&](cudaStream_t s) {
        for (int l = 0; l < p.layers; ++l) {
          const PaperBaselineParams b{p.q->get(),
                                      p.out->get(),
                                      p.caches[l].get(),
                                      p.caches[l].get() + p.value_offset,
                                      p.shape.dtype,
                                      p.tables->get(),
                                      p.kv_len->get(),
                                      p.shape.batch,
                                      p.shape.hq,
                                      p.shape.hkv,
                                      p.max_blocks,
                                      *std::max_element(p.lens.begin(), p.lens.end()),
                                      0.088f};
          if (PaperBaseline(b, prefetch, s) != KernelStatus::kOk) std::exit(1);
        }
      },
      IntOption("reps", 9));
}

std::vector<Shape> PeerShapes() {
  std::vector<Shape> all;
  for (const auto& [hq, hkv] :
       std::vector<std::pair<int, int>>{{32, 32}, {32, 8}, {28, 4}, {64, 8}, {8, 1}}) {
    for (auto [b, c] : std::vector<std::pair<int, int>>{
             {1, 4096}, {1, 32768}, {8, 4096}, {32, 2048}, {64, 4096}, {128, 1024}}) {
      if (hkv == 32 && b * c > 64 * 2048) c = std::max(512, 64 * 2048 / b);
      all.push_back({hq, hkv, b, c});
    }
  }
  all.push_back({32, 8, 64, 0});
  return all;
}

// --- read-only ceiling ---------------------------------------------------------------------------

__global__ void __launch_bounds__(1024) ReadKernel(const uint4* x, size_t n, uint4* sink) {
  uint4 acc{0, 0, 0, 0};
  const size_t stride = size_t(gridDim.x) * blockDim.x;
  size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x;
  for (; i + 7 * stride < n; i += 8 * stride) {
    uint4 v[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = __ldcs(x + i + j * stride);
#pragma unroll
    for (int j = 0; j < 8; ++j) acc.x ^= v[j].x, acc.y ^= v[j].y, acc.z ^= v[j].z, acc.w ^= v[j].w;
  }
  if (acc.x == 0x12345 && acc.y == 0x54321) *sink = acc;
}

void Ceiling() {
  const size_t bytes = size_t{8} << 30;
  DeviceArray<unsigned char> data(bytes);
  Fill(data.get(), bytes, Pattern::kBF16, 5);
  for (int ctas : {132, 264}) {
    const Timing t = TimeGraph(1, [&](cudaStream_t s) {
      ReadKernel<<<ctas, 1024, 0, s>>>(reinterpret_cast<uint4*>(data.get()), bytes / 16,
                                       reinterpret_cast<uint4*>(data.get()));
    });
    std::printf("read-only ceiling, %d CTAs: %.0f GB/s\n", ctas, bytes / t.median_us / 1e3);
  }
}

// --- chain: a tiny dependent kernel before and after each call -----------------------------------

void Tiny(const Problem& p, bool dependent, cudaStream_t s) {
  SLIP_CUDA(static_cast<cudaError_t>(slip_chain_link(p.q->get(), dependent, s)));
}

void Chain(const Shape& shape) {
  const Problem p(shape);
  for (bool pdl : {false, true}) {
    DecodeTuning tuning = TuningFromOptions(DecodeTuning{});
    tuning.dependent_launch = pdl;
    const Ours ours(p, tuning);
    const auto chain = [&](bool attention) {
      return TimeGraph(p.layers, [&](cudaStream_t s) {
        for (int l = 0; l < p.layers; ++l) {
          Tiny(p, pdl, s);
          if (attention) ours.Call(l, s);
          Tiny(p, pdl, s);
        }
      });
    };
    const Timing with = chain(true), without = chain(false);
    Report(p, pdl ? "slipstream_chain_pdl" : "slipstream_chain", tuning.prefetch_distance,
           {with.median_us - without.median_us, with.best_us - without.best_us});
  }
}

int Main(int argc, char** argv) {
  const std::string suite = argc > 1 ? argv[1] : "peers";
  for (int i = 2; i < argc; ++i) {
    const char* eq = std::strchr(argv[i], '=');
    if (eq) options[std::string(argv[i], eq - argv[i])] = eq + 1;
  }
  const int block = IntOption("block", 16);
  const bool adjacent = IntOption("adjacent", 0) != 0;
  const DecodeTuning tuning = TuningFromOptions(DecodeTuning{});
  if (suite == "ceiling") {
    Ceiling();
  } else if (suite == "peers" || suite == "fp8") {
    for (Shape s : PeerShapes()) {
      if (suite == "fp8") s.dtype = DType::kF8E4M3;
      const Problem p(s, block, adjacent);
      Report(p, tuning.dependent_launch ? "slipstream_pdl" : "slipstream", tuning.prefetch_distance,
             TimeOurs(p, tuning));
    }
  } else if (suite == "paper") {
    for (const auto& [hq, hkv] :
         std::vector<std::pair<int, int>>{{32, 32}, {32, 8}, {28, 4}, {40, 8}}) {
      for (int context : {527, 1024, 2048, 4608}) {
        const Problem p({hq, hkv, 64, context, DType::kF16});
        Report(p, "paper_base", 0, TimePaper(p, false));
        Report(p, "paper_prefetch", 1, TimePaper(p, true));
        Report(p, "slipstream", tuning.prefetch_distance, TimeOurs(p, tuning));
      }
    }
  } else if (suite == "sweep") {
    for (const Shape& s : std::vector<Shape>{{32, 8, 1, 4096},
                                             {28, 4, 1, 4096},
                                             {8, 1, 1, 4096},
                                             {8, 1, 1, 32768},
                                             {8, 1, 8, 4096},
                                             {32, 8, 8, 4096},
                                             {32, 8, 32, 2048},
                                             {32, 8, 64, 4096},
                                             {32, 8, 128, 1024},
                                             {32, 8, 64, 0}}) {
      const Problem p(s, block, adjacent);
      for (int stages : {1, 2}) {
        for (int distance : {0, 1, 2, 4, 8}) {
          DecodeTuning t = tuning;
          t.stages = stages;
          t.prefetch_distance = distance;
          Report(p, "slipstream_s" + std::to_string(stages), distance, TimeOurs(p, t));
        }
      }
      for (int tiles : {1, 2, 4, 8}) {
        DecodeTuning t = tuning;
        t.min_tiles_per_cta = tiles;
        Report(p, "slipstream_t" + std::to_string(tiles), t.prefetch_distance, TimeOurs(p, t));
      }
    }
  } else if (suite == "chain") {
    for (const Shape& s : std::vector<Shape>{{32, 8, 1, 4096},
                                             {28, 4, 1, 4096},
                                             {8, 1, 1, 4096},
                                             {8, 1, 1, 32768},
                                             {8, 1, 8, 4096},
                                             {32, 8, 8, 4096},
                                             {32, 8, 32, 2048},
                                             {32, 8, 64, 4096}}) {
      Chain(s);
    }
  } else if (suite == "shape") {
    const std::string kind = Option("impl", "slipstream");
    const bool paper = kind != "slipstream";
    const Problem p({IntOption("hq", 32), IntOption("hkv", 8), IntOption("batch", 1),
                     IntOption("context", 4096), paper ? DType::kF16 : DType::kBF16},
                    block, adjacent);
    Report(p, kind, tuning.prefetch_distance,
           paper ? TimePaper(p, kind == "paper_prefetch") : TimeOurs(p, tuning));
  } else {
    std::fprintf(stderr, "unknown suite %s\n", suite.c_str());
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace slipstream::bench

int main(int argc, char** argv) { return slipstream::bench::Main(argc, argv); }
