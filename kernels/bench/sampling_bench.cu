// Time of one sampling step: microseconds per SampleTokens (both kernels) in a CUDA graph of
// dependent launches, for several batch sizes and kinds of parameters. Logits follow a Zipf law:
// p ~ rank^-1.6 (a few likely tokens) or, for "flat", rank^-1. Program: sampling_bench
// [vocab_size].
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <vector>

#include "kernels/bench/attention_harness.cuh"
#include "kernels/cuda/sampling/sampling.h"

namespace slipstream::bench {
namespace {

using namespace slipstream::kernels;

constexpr int kCalls = 20;
constexpr int kMaxRows = 256;

__global__ void FillLogits(float* x, size_t n, float exponent, uint32_t seed) {
  const size_t stride = size_t(gridDim.x) * blockDim.x;
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < n; i += stride) {
    const uint32_t r = Hash(uint32_t(i) * 2654435761u + seed);
    x[i] = -exponent * logf((r + 0.5f) * 0x1p-32f);
  }
}

struct Kind {
  const char* name;
  SamplingSlot slot;
  int num_top = -1;
  bool flat = false;
};

const Kind kKinds[] = {
    {"greedy", {.temperature = 0}},
    {"temperature 0.8", {.temperature = 0.8f}},
    {"top_p 0.9", {.top_p = 0.9f}},
    {"top_p 0.9, flat", {.top_p = 0.9f}, -1, true},
    {"top_k 50", {.top_k = 50}},
    {"top_k 50, top_p 0.9", {.top_k = 50, .top_p = 0.9f}},
    {"top_k 2000", {.top_k = 2000}},
    {"min_p 0.05", {.min_p = 0.05f}},
    {"penalties, temp. 0.8", {.temperature = 0.8f, .repetition_penalty = 1.1f, .has_penalties = 1}},
    {"greedy, logprobs 5", {.temperature = 0}, 5},
};

class Bench {
 public:
  explicit Bench(int vocab_size)
      : vocab_size_(vocab_size),
        peaked_(size_t{kMaxRows} * vocab_size),
        flat_(size_t{kMaxRows} * vocab_size),
        slots_(kMaxRows),
        last_(kMaxRows),
        stops_(kMaxRows * kMaxMinTokenStops),
        tasks_(kMaxRows),
        counts_(size_t{kMaxRows} * vocab_size),
        bias_(kMaxRows * kMaxLogitBias),
        out_(kMaxRows),
        scratch_(SampleScratchBytes(kMaxRows, vocab_size)) {
    FillLogits<<<1056, 256>>>(peaked_.get(), peaked_.size(), 1.6f, 1);
    FillLogits<<<1056, 256>>>(flat_.get(), flat_.size(), 1.0f, 2);
    SLIP_CUDA(cudaGetLastError());
    SLIP_CUDA(cudaMemset(counts_.get(), 0, counts_.size() * sizeof(uint16_t)));
  }

  double Time(const Kind& kind, int rows) {
    std::vector<SamplingSlot> slots(rows, kind.slot);
    std::vector<SampleTask> tasks(rows);
    for (int i = 0; i < rows; ++i) {
      slots[i].seed = 1000 + i;
      tasks[i] = {i, i, -1, kind.num_top};
    }
    slots_.Upload(slots);
    tasks_.Upload(tasks);
    SampleTokensParams p;
    p.logits = (kind.flat ? flat_ : peaked_).get();
    p.logits_stride = vocab_size_;
    p.state = {slots_.get(), last_.get(), counts_.get(), bias_.get(),
               stops_.get(), kMaxRows,    vocab_size_};
    p.tasks = tasks_.get();
    p.num_tasks = rows;
    p.out = out_.get();
    p.scratch = scratch_.get();
    const auto record = [&](cudaStream_t stream) {
      for (int i = 0; i < kCalls; ++i) {
        if (SampleTokens(p, true, stream) != KernelStatus::kOk) {
          std::fprintf(stderr, "launch failed\n");
          std::exit(1);
        }
      }
    };
    return TimeGraph(kCalls, record, 5).median_us;
  }

 private:
  int vocab_size_;
  DeviceArray<float> peaked_, flat_;
  DeviceArray<SamplingSlot> slots_;
  DeviceArray<int32_t> last_, stops_;
  DeviceArray<SampleTask> tasks_;
  DeviceArray<uint16_t> counts_;
  DeviceArray<LogitBias> bias_;
  DeviceArray<SampledTokenRecord> out_;
  DeviceArray<unsigned char> scratch_;
};

}  // namespace
}  // namespace slipstream::bench

int main(int argc, char** argv) {
  using namespace slipstream::bench;
  const int vocab_size = argc > 1 ? std::atoi(argv[1]) : 128256;
  constexpr int kRows[] = {1, 8, 64, kMaxRows};
  Bench bench(vocab_size);
  std::printf("us per step, vocabulary %d\n%-22s", vocab_size, "rows");
  for (const int rows : kRows) std::printf("%10d", rows);
  std::printf("\n");
  for (const Kind& kind : kKinds) {
    std::printf("%-22s", kind.name);
    for (const int rows : kRows) std::printf("%10.1f", bench.Time(kind, rows));
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}
