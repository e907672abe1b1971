// decode_prefetch_sm90 and the paper's baseline against the float64 reference.
#include <gtest/gtest.h>

#include <cstdlib>

#include "kernels/cuda/attention/paper_baseline.h"
#include "tests/kernels/cuda/attention_case.h"

namespace slipstream::kernels {
namespace {

// The device side of a case.
class OnDevice {
 public:
  explicit OnDevice(AttentionCase& c)
      : case_(c),
        k_(c.k()),
        v_(c.v()),
        q_(c.q()),
        out_(c.q().size() * 2),
        tables_(c.tables()),
        kv_len_(c.kv_len()),
        query_start_(c.query_start()),
        sinks_(c.sinks()),
        plan_(c.Plan()),
        scratch_(DecodeScratchBytes(c.Shape())) {}

  void Launch(cudaStream_t stream) {
    const AttentionSpec& spec = case_.spec();
    const int64_t tile =
        int64_t{spec.block_size} * spec.head_dim * GeometryOf(spec.kv_dtype).block_bytes;
    PagedAttentionParams p = case_.Params(
        k_.get(), spec.adjacent ? k_.get<unsigned char>() + tile : v_.get<unsigned char>());
    p.q = q_.get();
    p.out = out_.get();
    p.block_tables = tables_.get<int32_t>();
    p.kv_len = kv_len_.get<int32_t>();
    if (p.query_start) p.query_start = query_start_.get<int32_t>();
    if (p.sinks) p.sinks = sinks_.get<float>();
    ASSERT_EQ(
        DecodePrefetchSm90(p, case_.Shape(), plan_.get(), scratch_.get(), spec.tuning, stream),
        KernelStatus::kOk)
        << spec.name;
  }

  // Twice: the second run meets the scratch as the first one left it.
  void RunAndCheck() {
    for (int i = 0; i < 2; ++i) {
      SLIP_CUDA_OK(cudaMemset(out_.get(), 0xFF, case_.q().size() * 2));
      Launch(nullptr);
      SLIP_CUDA_OK(cudaDeviceSynchronize());
      const auto got = out_.Download<uint16_t>();
      if (i == 0) {
        first_ = got;
        case_.ExpectClose(got);
      } else {
        EXPECT_EQ(got, first_) << case_.spec().name << ": not deterministic";
      }
    }
    for (unsigned char x : scratch_.Download<unsigned char>()) {
      ASSERT_EQ(x, 0xFF) << case_.spec().name << ": scratch not at rest";
    }
  }

  DeviceBytes& plan() { return plan_; }
  DeviceBytes& kv_len() { return kv_len_; }
  DeviceBytes& out() { return out_; }
  DeviceBytes& q() { return q_; }
  DeviceBytes& k() { return k_; }
  DeviceBytes& v() { return v_; }
  DeviceBytes& tables() { return tables_; }

 private:
  AttentionCase& case_;
  DeviceBytes k_, v_, q_, out_, tables_, kv_len_, query_start_, sinks_, plan_, scratch_;
  std::vector<uint16_t> first_;
};

void Check(const AttentionSpec& spec) {
  SLIP_REQUIRE_DEVICE();
  AttentionCase c(spec);
  OnDevice device(c);
  device.RunAndCheck();
}

AttentionSpec Spec(std::string name, std::vector<int32_t> lens) {
  AttentionSpec s;
  s.name = std::move(name);
  s.kv_len = std::move(lens);
  s.tuning.min_tiles_per_cta = 1;
  return s;
}

TEST(DecodePrefetch, BlockAndTileEdges) {
  Check(Spec("edges", {1, 15, 16, 17, 31, 32, 33, 127, 128, 129, 255, 256, 257, 511, 513}));
}
TEST(DecodePrefetch, EmptySequences) { Check(Spec("empty", {0, 40, 0, 0, 300, 0})); }
TEST(DecodePrefetch, AllEmpty) { Check(Spec("all_empty", {0, 0})); }

TEST(DecodePrefetch, EveryGroup) {
  for (int group = 1; group <= 16; ++group) {
    AttentionSpec s = Spec("group" + std::to_string(group), {700, 33, 1});
    s.group = group;
    Check(s);
  }
}

TEST(DecodePrefetch, EveryDtypeHeadDimAndBlockSize) {
  for (DType t : {DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    for (int head_dim : {64, 96, 128, 256}) {
      for (int block : {16, 32, 64, 128}) {
        AttentionSpec s = Spec(
            std::string(NameOf(t)) + " d" + std::to_string(head_dim) + " b" + std::to_string(block),
            {1, block - 1, block, block + 1, 5 * block + 3, 900});
        s.kv_dtype = t;
        s.head_dim = head_dim;
        s.block_size = block;
        Check(s);
      }
    }
  }
}

TEST(DecodePrefetch, WideGroupsOfEveryDtypeAndHeadDim) {
  for (DType t : {DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    for (int head_dim : {64, 96, 128, 256}) {
      AttentionSpec s =
          Spec(std::string(NameOf(t)) + " g16 d" + std::to_string(head_dim), {1000, 77, 16});
      s.kv_dtype = t;
      s.head_dim = head_dim;
      s.group = 16;
      s.kv_heads = 1;
      Check(s);
    }
  }
}

TEST(DecodePrefetch, SeveralQueriesAreCausal) {
  for (DType t : {DType::kBF16, DType::kF8E4M3}) {
    for (int group : {1, 4, 7, 16}) {
      for (int head_dim : {128, 256}) {
        AttentionSpec s = Spec(
            "queries g" + std::to_string(group) + " d" + std::to_string(head_dim) + " " + NameOf(t),
            {8, 5, 300, 1000, 17, 0, 64});
        s.query_len = {8, 3, 1, 8, 2, 0, 5};
        s.group = group;
        s.head_dim = head_dim;
        s.kv_dtype = t;
        Check(s);
      }
    }
  }
}

TEST(DecodePrefetch, WindowSoftcapSinks) {
  for (DType t : {DType::kBF16, DType::kF8E4M3}) {
    for (int variant = 1; variant < 8; ++variant) {
      AttentionSpec s = Spec("variant " + std::to_string(variant) + " " + NameOf(t),
                             {1, 40, 128, 129, 1000, 2500, 0});
      s.kv_dtype = t;
      s.window = variant & 1 ? 128 : 0;
      s.softcap = variant & 2 ? 2.0f : 0.0f;
      s.sinks = (variant & 4) != 0;
      Check(s);
      s.query_len = {1, 4, 2, 8, 3, 5, 0};
      s.window = variant & 1 ? 100 : 0;
      Check(s);
    }
  }
}

TEST(DecodePrefetch, LongContexts) {
  AttentionSpec s = Spec("100k", {100000, 3});
  s.kv_heads = 1;
  Check(s);
  s.kv_dtype = DType::kF8E4M3;
  s.group = 2;
  Check(s);
}

TEST(DecodePrefetch, AnyGridSplitsTheSameAnswer) {
  for (int grid : {1, 2, 3, 7, 50, 131}) {
    AttentionSpec s = Spec("grid " + std::to_string(grid), {900, 16, 1, 2000, 333, 0, 48});
    s.grid = grid;
    Check(s);
    s.group = 16;
    Check(s);
  }
}

TEST(DecodePrefetch, RingAndPrefetchDistanceChangeNothing) {
  for (int stages : {1, 2, 3}) {
    for (int distance : {0, 1, 4, 31}) {
      for (DType t : {DType::kBF16, DType::kF8E4M3}) {
        AttentionSpec s = Spec("stages " + std::to_string(stages) + " distance " +
                                   std::to_string(distance) + " " + NameOf(t),
                               {9000, 16, 1, 4000, 333, 0, 48});
        s.kv_dtype = t;
        s.grid = 9;
        s.tuning.stages = stages;
        s.tuning.prefetch_distance = distance;
        Check(s);
      }
    }
  }
}

// Tiles asked into L2 before the wait for the previous kernel, more and fewer than a share has.
TEST(DecodePrefetch, PrefetchBeforeTheDependencyChangesNothing) {
  for (int start : {-1, 0, 1, 2, 31}) {
    for (int stages : {1, 0}) {
      AttentionSpec s = Spec("start " + std::to_string(start) + " stages " + std::to_string(stages),
                             {9000, 16, 1, 4000, 333, 0, 48});
      s.grid = 9;
      s.tuning.stages = stages;
      s.tuning.prefetch_start = start;
      s.tuning.dependent_launch = true;
      Check(s);
      s.tuning.prefetch_distance = 2;
      Check(s);
    }
  }
}

// Many tiles per CTA: long rows over many shares, many rows in a share, and more query rows than
// one pass holds.
TEST(DecodePrefetch, ManyTilesPerCta) {
  for (int grid : {1, 2, 5, 13}) {
    for (int distance : {0, 9}) {
      AttentionSpec s = Spec("long rows " + std::to_string(grid), {30000, 0, 9000, 1});
      s.grid = grid;
      s.tuning.prefetch_distance = distance;
      s.kv_heads = 1;
      Check(s);
      s = Spec("many rows " + std::to_string(grid), std::vector<int32_t>(40, 700));
      s.grid = grid;
      s.tuning.prefetch_distance = distance;
      Check(s);
      s.kv_len = std::vector<int32_t>(9, 2000);
      s.query_len = std::vector<int32_t>(9, 5);
      s.group = 16;
      s.kv_heads = 1;
      Check(s);
    }
  }
}

TEST(DecodePrefetch, AdjacentKeysAndValues) {
  AttentionSpec s = Spec("adjacent", {900, 16, 1, 2000});
  s.adjacent = true;
  Check(s);
}

TEST(DecodePrefetch, DependentLaunch) {
  AttentionSpec s = Spec("dependent", {900, 16, 1, 2000});
  s.tuning.dependent_launch = true;
  Check(s);
}

TEST(DecodePrefetch, RandomBatches) {
  std::mt19937 rng(11);
  for (int trial = 0; trial < 12; ++trial) {
    std::vector<int32_t> lens(1 + rng() % 48);
    for (auto& x : lens) x = rng() % 4 == 0 ? rng() % 3 : rng() % 1500;
    AttentionSpec s = Spec("random " + std::to_string(trial), lens);
    s.group = 1 + rng() % 8;
    s.kv_heads = 1 + rng() % 4;
    s.tuning.min_tiles_per_cta = 1 + rng() % 6;
    Check(s);
  }
}

// One capture, replayed with other lengths: only plan and lengths are uploaded.
TEST(DecodePrefetch, OneGraphServesChangingLengths) {
  SLIP_REQUIRE_DEVICE();
  AttentionSpec s = Spec("graph", {2000, 1500, 1000, 700});
  AttentionCase longest(s);
  OnDevice device(longest);
  cudaStream_t stream;
  SLIP_CUDA_OK(cudaStreamCreate(&stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  SLIP_CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  device.Launch(stream);
  SLIP_CUDA_OK(cudaStreamEndCapture(stream, &graph));
  SLIP_CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
  for (const auto& lens : std::vector<std::vector<int32_t>>{{2000, 1500, 1000, 700},
                                                            {1, 0, 999, 16},
                                                            {2000, 1, 1, 700},
                                                            {0, 0, 0, 0},
                                                            {5, 6, 7, 8}}) {
    AttentionSpec now = s;
    now.kv_len = lens;
    AttentionCase c(now);
    device.kv_len().Upload(lens);
    device.plan().Upload(c.Plan());
    SLIP_CUDA_OK(cudaGraphLaunch(exec, stream));
    SLIP_CUDA_OK(cudaStreamSynchronize(stream));
    longest.OverrideLengths(lens);
    longest.ExpectClose(device.out().Download<uint16_t>());
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST(DecodePrefetch, RefusesWhatItCannotRun) {
  AttentionSpec s = Spec("bad", {10});
  AttentionCase c(s);
  const auto call = [&](auto change) {
    PagedAttentionParams p = c.Params(c.k().data(), c.v().data());
    p.out = reinterpret_cast<void*>(16);
    p.kv.k = p.kv.v = reinterpret_cast<void*>(128);
    DecodePlanShape shape = c.Shape();
    shape.grid = 132;
    change(p, shape);
    return DecodePrefetchSm90(p, shape, &p, &p, {}, nullptr);
  };
  EXPECT_EQ(call([](auto& p, auto&) { p.kv.k = nullptr; }), KernelStatus::kInvalidArgument);
  EXPECT_EQ(call([](auto& p, auto&) { p.kv.k = reinterpret_cast<void*>(64); }),
            KernelStatus::kInvalidArgument);
  EXPECT_EQ(call([](auto& p, auto&) { p.kv.layout = KvLayout::kPlain; }),
            KernelStatus::kUnsupported);
  EXPECT_EQ(call([](auto& p, auto&) { p.kv.block_size = 8; }), KernelStatus::kUnsupported);
  EXPECT_EQ(call([](auto& p, auto& s) { p.kv.head_dim = s.head_dim = 80; }),
            KernelStatus::kUnsupported);
  EXPECT_EQ(call([](auto& p, auto&) { p.num_heads = 9; }), KernelStatus::kInvalidArgument);
}

TEST(PaperBaseline, BothVariantsAgreeWithTheReference) {
  SLIP_REQUIRE_DEVICE();
  for (DType t : {DType::kF16, DType::kBF16}) {
    AttentionSpec s = Spec("paper", {527, 1, 16, 17, 1000, 63, 64, 65});
    s.kv_dtype = t;
    AttentionCase c(s);
    OnDevice device(c);
    // Its layouts, from the swizzled tiles: K [d / 8][16][8], V [d][16].
    std::vector<uint16_t> k(c.k().size() / 2), v(k.size());
    for (size_t tile = 0; tile < k.size() / 2048; ++tile) {
      for (int token = 0; token < 16; ++token) {
        for (int d = 0; d < 128; ++d) {
          const int64_t at = KeyByteOffset(KvLayout::kSwizzled, token, d, 128, 2);
          std::memcpy(&k[tile * 2048 + (d / 8 * 16 + token) * 8 + d % 8], &c.k()[tile * 4096 + at],
                      2);
          std::memcpy(&v[tile * 2048 + d * 16 + token], &c.v()[tile * 4096 + at], 2);
        }
      }
    }
    device.k().Upload(k);
    device.v().Upload(v);
    const PagedAttentionParams host = c.Params(nullptr, nullptr);
    for (bool prefetch : {false, true}) {
      PaperBaselineParams p{device.q().get(),
                            device.out().get(),
                            device.k().get(),
                            device.v().get(),
                            t,
                            device.tables().get<int32_t>(),
                            device.kv_len().get<int32_t>(),
                            c.num_seqs(),
                            c.num_heads(),
                            s.kv_heads,
                            host.max_blocks,
                            1000,
                            host.scale};
      SLIP_CUDA_OK(cudaMemset(device.out().get(), 0xFF, c.q().size() * 2));
      ASSERT_EQ(PaperBaseline(p, prefetch, nullptr), KernelStatus::kOk);
      SLIP_CUDA_OK(cudaDeviceSynchronize());
      c.ExpectClose(device.out().Download<uint16_t>());
    }
  }
}

}  // namespace
}  // namespace slipstream::kernels
