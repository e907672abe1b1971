// Times the matrix products of one SmolLM2-135M forward pass (30 layers and the output projection)
// with random weights, all of them different memory, as a step reads them.
//   cpu_gemm TYPE ROWS [THREADS=2] [portable|avx2|avx512|amx]
// Prints milliseconds per pass (best and median of 15), weight GB/s, GFLOP/s and tokens/s if a pass
// were all there is.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels/api/cpu_kernels.h"

namespace slipstream::kernels {
namespace {

struct Layer {
  PackedMatrix w;
};

// Huge pages, as the backend's arena has them.
uint8_t* BigMemory(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;
  bytes = (bytes + kHuge - 1) / kHuge * kHuge;
  auto* p = static_cast<uint8_t*>(std::aligned_alloc(kHuge, bytes));
  if (p == nullptr) std::exit(2);
  madvise(p, bytes, MADV_HUGEPAGE);
  return p;
}

constexpr DType kTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0,
                            DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// Packed bytes need no meaning for a timing, but floats must be ordinary ones: 0x2c is a small
// positive number in every float type.
Layer MakeLayer(DType t, int64_t rows, int64_t cols, std::mt19937& rng) {
  static uint8_t* next = nullptr;
  static size_t left = 0;
  Layer l;
  if (GeometryOf(t).block_elems == 256) cols = (cols + 255) / 256 * 256;
  if (PackedLayout(t, rows, cols, &l.w) != KernelStatus::kOk) std::exit(2);
  if (left < l.w.bytes()) {
    left = std::max(l.w.bytes(), size_t{64} << 20);
    next = BigMemory(left);
  }
  l.w.data = next;
  for (size_t i = 0; i < l.w.bytes(); ++i) next[i] = static_cast<uint8_t>(0x20 + rng() % 12);
  next += l.w.bytes();
  left -= l.w.bytes();
  return l;
}

class SpinBarrier {
 public:
  explicit SpinBarrier(int n) : n_(n) {}
  void Wait() {
    const int turn = turn_.load();
    if (waiting_.fetch_add(1) + 1 == n_) {
      waiting_ = 0;
      turn_.fetch_add(1);
    } else {
      while (turn_.load() == turn) {
      }
    }
  }

 private:
  const int n_;
  std::atomic<int> waiting_{0}, turn_{0};
};

// Seconds: of the wall, or of this thread's processor time if it works alone, so that a busy
// machine can still compare kernels.
double Now(int threads) {
  timespec t;
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Bench {
  const CpuKernels& k;
  std::vector<Layer> layers;
  int64_t rows;
  int threads;
  std::vector<float> x, y;
  uint8_t *prepared = nullptr, *scratch = nullptr;

  void Worker(int index, SpinBarrier& barrier) {
    for (const Layer& l : layers) {
      const bool head = &l == &layers.back();
      const int64_t m = head ? std::min<int64_t>(rows, 16) : rows;
      GemmParams p;
      p.w = &l.w;
      p.x = BindPrepared(k.act_form(l.w.dtype), x.data(), l.w.cols, m, l.w.cols, prepared);
      p.y = y.data();
      p.y_stride = l.w.rows;
      p.scratch = scratch;
      const Part part{index, threads};
      if (m > 8 || index == 0) k.prepare(p.x, m > 8 ? part : Part{0, 1});
      barrier.Wait();
      k.gemm(p, part);
      barrier.Wait();
    }
  }
};

int Main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: cpu_gemm TYPE ROWS [THREADS] [ISA]\n");
    return 2;
  }
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](DType t) { return std::strcmp(NameOf(t), argv[1]) == 0; });
  if (type == std::end(kTypes)) return 2;
  if (argc > 4) setenv("SLIPSTREAM_ISA", argv[4], 1);
  Bench b{BestKernels(), {}, std::atoi(argv[2]), argc > 3 ? std::atoi(argv[3]) : 2, {}, {}};
  std::mt19937 rng(1);
  double bytes = 0, flops = 0;
  for (int i = 0; i < 30; ++i) {
    for (const auto& [n, k] : {std::pair{960, 576}, {576, 576}, {3072, 576}, {576, 1536}}) {
      b.layers.push_back(MakeLayer(*type, n, k, rng));
    }
  }
  b.layers.push_back(MakeLayer(*type, 49152, 576, rng));
  for (const Layer& l : b.layers) {
    const bool head = &l == &b.layers.back();
    bytes += static_cast<double>(l.w.bytes());
    flops += 2.0 * static_cast<double>(l.w.rows * l.w.cols) *
             static_cast<double>(head ? std::min<int64_t>(b.rows, 16) : b.rows);
  }
  b.x.assign(static_cast<size_t>(b.rows * 1536), 0.5f);
  for (float& v : b.x) v = static_cast<float>(rng() % 1000) / 500.0f - 1.0f;
  b.y.resize(static_cast<size_t>(std::max<int64_t>(b.rows * 3072, 16 * 49152)));
  b.prepared = BigMemory(3 * PreparedBytes(ActForm::kInt8, b.rows, 1536));
  b.scratch = BigMemory(size_t{1} << 20);
  std::vector<double> ms;
  for (int rep = 0; rep < 15; ++rep) {
    SpinBarrier barrier(b.threads);
    const double begin = Now(b.threads);
    std::vector<std::thread> others;
    for (int i = 1; i < b.threads; ++i) others.emplace_back([&, i] { b.Worker(i, barrier); });
    b.Worker(0, barrier);
    for (std::thread& t : others) t.join();
    ms.push_back((Now(b.threads) - begin) * 1e3);
  }
  std::sort(ms.begin(), ms.end());
  std::printf(
      "%s %s rows %lld threads %d: best %.3f ms, median %.3f ms, %.1f GB/s, %.0f GFLOP/s, %.0f "
      "tok/s\n",
      b.k.name, argv[1], static_cast<long long>(b.rows), b.threads, ms[0], ms[7],
      bytes / ms[0] * 1e-6, flops / ms[0] * 1e-6, static_cast<double>(b.rows) / ms[0] * 1e3);
  return 0;
}

}  // namespace
}  // namespace slipstream::kernels

int main(int argc, char** argv) { return slipstream::kernels::Main(argc, argv); }
