// Speed of prefill attention: causal prompts of 1K to 32K tokens, chunks over a prefix, windows.
// usage: prefill_bench [CSV [COMMIT [DATE]]]   prints a table; appends the rows to CSV if given.
// Seconds in all. scripts/bench/peers_prefill.py takes its cases from kCases below.
// FLOPs are those of the visible (query, key) pairs: 4 * head_dim * heads each.
#include <cmath>
#include <cstdio>
#include <ctime>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/bench/attention_harness.cuh"
#include "kernels/cuda/attention/prefill_sm90.h"

namespace slipstream::bench {
namespace {

using namespace slipstream::kernels;

constexpr int kBlock = 16;

struct Case {
  const char* name;
  int batch, query_len, prefix;
  int head_dim = 128, heads = 32, kv_heads = 8;
  int window = 0;
  float softcap = 0;
  DType dtype = DType::kBF16;
};

// One layer's cache, queries, output and plan on the device.
struct Problem {
  explicit Problem(const Case& c, int sms)
      : kv_len(c.batch, c.query_len + c.prefix),
        blocks_per_seq((kv_len[0] + kBlock - 1) / kBlock),
        tile_bytes(int64_t{kBlock} * c.head_dim * 2),
        cache_bytes(tile_bytes * c.kv_heads * blocks_per_seq * c.batch),
        k(cache_bytes),
        v(cache_bytes),
        q(size_t(c.batch) * c.query_len * c.heads * c.head_dim),
        out(q.size()) {
    std::vector<int32_t> ids(size_t(blocks_per_seq) * c.batch);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(3));
    tables = std::make_unique<DeviceArray<int32_t>>(ids);
    const Pattern pattern = c.dtype == DType::kF16 ? Pattern::kF16 : Pattern::kBF16;
    Fill(k.get(), cache_bytes, pattern, 1);
    Fill(v.get(), cache_bytes, pattern, 2);
    Fill(q.get(), q.size() * 2, pattern, 3);
    MakePlan(c, sms);
    SLIP_CUDA(cudaDeviceSynchronize());
  }

  void MakePlan(const Case& c, int sms) {
    shape.num_kv_heads = c.kv_heads;
    shape.group = c.heads / c.kv_heads;
    shape.head_dim = c.head_dim;
    shape.sliding_window = c.window;
    shape.grid = sms;
    shape.max_seqs = c.batch;
    shape.max_tokens = c.batch * c.query_len;
    std::vector<int32_t> start;
    for (int s = 0; s <= c.batch; ++s) start.push_back(s * c.query_len);
    std::vector<PrefillItem> words(PrefillPlanBytes(shape) / sizeof(PrefillItem) + 1);
    const auto result =
        BuildPrefillPlan(shape, {kv_len, start}, std::as_writable_bytes(std::span(words)));
    num_items = result.num_items;
    plan = std::make_unique<DeviceArray<PrefillItem>>(words);
  }

  PagedAttentionParams Params(const Case& c) const {
    PagedAttentionParams p;
    p.q = q.get();
    p.out = out.get();
    p.q_dtype = c.dtype;
    p.q_token_stride = p.out_token_stride = int64_t{c.heads} * c.head_dim;
    p.kv = {k.get(),
            v.get(),
            c.dtype,
            KvLayout::kSwizzled,
            tile_bytes * c.kv_heads,
            tile_bytes,
            blocks_per_seq * c.batch,
            kBlock,
            c.kv_heads,
            c.head_dim};
    p.block_tables = tables->get();
    p.num_seqs = c.batch;
    p.num_heads = c.heads;
    p.max_blocks = blocks_per_seq;
    p.max_query_len = c.query_len;
    p.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    p.logit_softcap = c.softcap;
    p.sliding_window = c.window;
    return p;
  }

  std::vector<int32_t> kv_len;
  int blocks_per_seq;
  int64_t tile_bytes;
  size_t cache_bytes;
  DeviceArray<unsigned char> k, v;
  DeviceArray<uint16_t> q, out;
  std::unique_ptr<DeviceArray<int32_t>> tables;
  std::unique_ptr<DeviceArray<PrefillItem>> plan;
  PrefillPlanShape shape;
  int num_items = 0;
};

double VisiblePairs(const Case& c) {
  double pairs = 0;
  for (int i = 0; i < c.query_len; ++i) {
    const int keys = c.prefix + i + 1;
    pairs += c.window > 0 ? std::min(keys, c.window) : keys;
  }
  return pairs * c.batch;
}

struct Sink {
  std::FILE* csv = nullptr;
  std::string card, date, commit;
};

void Run(const Case& c, int sms, const Sink& sink) {
  const Problem problem(c, sms);
  const PagedAttentionParams p = problem.Params(c);
  const int calls = 2;
  const Timing time = TimeGraph(
      calls,
      [&](cudaStream_t stream) {
        for (int i = 0; i < calls; ++i) {
          if (PrefillSm90(p, problem.shape, problem.plan->get(), problem.num_items, false,
                          stream) != KernelStatus::kOk) {
            std::fprintf(stderr, "%s: launch failed: %s\n", c.name,
                         cudaGetErrorString(cudaGetLastError()));
            std::exit(1);
          }
        }
      },
      7);
  const double flops = VisiblePairs(c) * 4.0 * c.head_dim * c.heads;
  const double tflops = flops / time.median_us * 1e-6, best = flops / time.best_us * 1e-6;
  std::printf("%-22s %3d x %5d + %5d  d%-3d %2d/%d  %10.1f us  %6.1f TFLOP/s  (best %6.1f)\n",
              c.name, c.batch, c.query_len, c.prefix, c.head_dim, c.heads, c.kv_heads,
              time.median_us, tflops, best);
  std::fflush(stdout);
  if (sink.csv) {
    std::fprintf(sink.csv, "%s,%s,%s,%s,%s,%d,%d,%d,%d,%d,%d,%d,%g,%.2f,%.2f,%.1f,slipstream\n",
                 sink.card.c_str(), sink.date.c_str(), sink.commit.c_str(), c.name, NameOf(c.dtype),
                 c.batch, c.query_len, c.prefix, c.head_dim, c.heads, c.kv_heads, c.window,
                 c.softcap, time.median_us, time.best_us, tflops);
  }
}

const Case kCases[] = {
    {"causal 1K", 16, 1024, 0},
    {"causal 2K", 8, 2048, 0},
    {"causal 4K", 4, 4096, 0},
    {"causal 8K", 2, 8192, 0},
    {"causal 16K", 1, 16384, 0},
    {"causal 32K", 1, 32768, 0},
    {"causal 16K f16", 1, 16384, 0, 128, 32, 8, 0, 0, DType::kF16},
    {"chunk 2K over 8K", 1, 2048, 8192},
    {"chunk 512 over 8K", 4, 512, 8192},
    {"chunk 64 over 4K", 16, 64, 4096},
    {"causal 16K MHA", 1, 16384, 0, 128, 32, 32},
    {"causal 8K window 1K", 2, 8192, 0, 128, 32, 8, 1024},
    {"causal 16K softcap", 1, 16384, 0, 128, 32, 8, 0, 50.0f},
    {"causal 16K d64", 1, 16384, 0, 64, 32, 8},
    {"causal 16K d96", 1, 16384, 0, 96, 32, 32},
    {"causal 16K d256", 1, 16384, 0, 256, 16, 8},
};

int Main(int argc, char** argv) {
  cudaDeviceProp prop;
  SLIP_CUDA(cudaGetDeviceProperties(&prop, 0));
  std::printf("%s, %d SMs; query tokens = batch x chunk, + prefix\n", prop.name,
              prop.multiProcessorCount);
  Sink sink;
  if (argc > 1) {
    sink.csv = std::fopen(argv[1], "a");
    if (!sink.csv) {
      std::fprintf(stderr, "cannot write %s\n", argv[1]);
      return 1;
    }
    if (std::ftell(sink.csv) == 0) {
      std::fprintf(sink.csv,
                   "card,date,commit,case,dtype,batch,query_len,prefix,head_dim,heads,kv_heads,"
                   "window,softcap,us,best_us,tflops,impl\n");
    }
  }
  char today[16];
  const std::time_t now = std::time(nullptr);
  std::strftime(today, sizeof(today), "%F", std::gmtime(&now));
  sink.card = prop.name;
  sink.commit = argc > 2 ? argv[2] : "";
  sink.date = argc > 3 ? argv[3] : today;
  for (const Case& c : kCases) Run(c, prop.multiProcessorCount, sink);
  if (sink.csv) std::fclose(sink.csv);
  return 0;
}

}  // namespace
}  // namespace slipstream::bench

int main(int argc, char** argv) { return slipstream::bench::Main(argc, argv); }
