// KV write and block copy against their references.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/cuda/cache/block_copy.h"
#include "kernels/cuda/cache/kv_write.h"
#include "kernels/reference/convert.h"
#include "tests/kernels/cuda/device.h"

namespace slipstream::kernels {
namespace {

struct WriteSpec {
  DType dtype = DType::kBF16, kv_dtype = DType::kBF16;
  KvLayout layout = KvLayout::kSwizzled;
  int head_dim = 128, rotary_dim = 128, block_size = 16, num_heads = 6, kv_heads = 2;
  RopeStyle rope = RopeStyle::kNeox;
  bool norm = false;
};

std::vector<float> Floats(const std::vector<unsigned char>& x, DType t) {
  const int bytes = GeometryOf(t).block_bytes;
  std::vector<float> f(x.size() / bytes);
  for (size_t i = 0; i < f.size(); ++i) f[i] = LoadElement(&x[i * bytes], t);
  return f;
}

// Equal up to one rounding step of the storage type (the device's rotation fuses multiply-adds).
void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, DType t) {
  const float ulp = t == DType::kF8E4M3 ? 0.13f : t == DType::kBF16 ? 0.009f : 0.0012f;
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(want[i])) {
      ASSERT_TRUE(std::isnan(got[i])) << "slot nobody asked to write, at " << i;
      continue;
    }
    ASSERT_NEAR(got[i], want[i], ulp * std::fabs(want[i]) + 2e-3f) << i;
  }
}

void Check(const WriteSpec& s) {
  SLIP_REQUIRE_DEVICE();
  std::mt19937 rng(5);
  std::normal_distribution<float> normal;
  const int tokens = 9, blocks = 6, width = (s.num_heads + 2 * s.kv_heads) * s.head_dim;
  std::vector<uint16_t> qkv(tokens * width);
  for (auto& x : qkv) StoreElement(&x, s.dtype, normal(rng));
  const int half = s.rotary_dim / 2, positions_max = 300;
  std::vector<float> cos(positions_max * half), sin(cos.size()), norm(s.head_dim);
  for (int p = 0; p < positions_max; ++p) {
    for (int i = 0; i < half; ++i) {
      const float angle = p * std::pow(10000.0f, -static_cast<float>(i) / half);
      cos[p * half + i] = std::cos(angle), sin[p * half + i] = std::sin(angle);
    }
  }
  for (float& x : norm) x = 1.0f + 0.2f * normal(rng);
  std::vector<int64_t> slots(tokens);
  std::vector<int32_t> positions(tokens);
  for (int t = 0; t < tokens; ++t) {
    slots[t] = t == 4 ? -1 : (t * 7 + 3) % (blocks * s.block_size);
    positions[t] = rng() % positions_max;
  }
  const int bytes = GeometryOf(s.kv_dtype).block_bytes;
  const int64_t tile = int64_t{s.block_size} * s.head_dim * bytes;
  std::vector<unsigned char> k(tile * s.kv_heads * blocks, 0xFF), v(k);

  KvWriteParams p;
  p.dtype = s.dtype;
  p.q_token_stride = p.k_token_stride = p.v_token_stride = width;
  p.kv = {k.data(), v.data(), s.kv_dtype,   s.layout,   tile * s.kv_heads,
          tile,     blocks,   s.block_size, s.kv_heads, s.head_dim};
  if (s.kv_dtype == DType::kF8E4M3) p.kv.k_scale = 0.5f, p.kv.v_scale = 0.25f;
  p.rope = s.rope;
  p.rotary_dim = s.rotary_dim;
  p.num_tokens = tokens;
  p.num_heads = s.num_heads;
  KvWriteParams d = p;
  const auto set = [&](KvWriteParams& x, uint16_t* rows) {
    x.q = rows;
    x.k = rows + s.num_heads * s.head_dim;
    x.v = rows + (s.num_heads + s.kv_heads) * s.head_dim;
  };
  DeviceBytes dqkv(qkv), dk(k), dv(v), dcos(cos), dsin(sin), dnorm(norm), dslots(slots),
      dpositions(positions);
  set(p, qkv.data());
  p.slot_ids = slots.data(), p.positions = positions.data();
  p.cos = cos.data(), p.sin = sin.data();
  if (s.norm) p.q_norm = p.k_norm = norm.data();
  set(d, dqkv.get<uint16_t>());
  d.kv.k = dk.get(), d.kv.v = dv.get();
  d.slot_ids = dslots.get<int64_t>(), d.positions = dpositions.get<int32_t>();
  d.cos = dcos.get<float>(), d.sin = dsin.get<float>();
  if (s.norm) d.q_norm = d.k_norm = dnorm.get<float>();
  ASSERT_EQ(KvWriteReference(p), KernelStatus::kOk);
  ASSERT_EQ(KvWrite(d, false, nullptr), KernelStatus::kOk);
  SLIP_CUDA_OK(cudaDeviceSynchronize());
  ExpectNear(Floats(dk.Download<unsigned char>(), s.kv_dtype), Floats(k, s.kv_dtype), s.kv_dtype);
  ExpectNear(Floats(dv.Download<unsigned char>(), s.kv_dtype), Floats(v, s.kv_dtype), s.kv_dtype);
  std::vector<unsigned char> rows(qkv.size() * 2);
  std::memcpy(rows.data(), qkv.data(), rows.size());
  ExpectNear(Floats(dqkv.Download<unsigned char>(), s.dtype), Floats(rows, s.dtype), s.dtype);
}

TEST(KvWrite, EveryCacheTypeLayoutAndHeadDim) {
  for (DType kv : {DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    for (KvLayout layout : {KvLayout::kPlain, KvLayout::kSwizzled}) {
      for (int head_dim : {64, 96, 128, 256}) {
        WriteSpec s;
        s.kv_dtype = kv;
        s.dtype = kv == DType::kF16 ? DType::kF16 : DType::kBF16;
        s.layout = layout;
        s.head_dim = s.rotary_dim = head_dim;
        Check(s);
      }
    }
  }
}

TEST(KvWrite, PlainInterleavedPartialAndNormalised) {
  WriteSpec s;
  s.rope = RopeStyle::kNone;
  Check(s);
  s.rope = RopeStyle::kInterleaved;
  Check(s);
  s.rotary_dim = 64;
  Check(s);
  s.rope = RopeStyle::kNeox;
  Check(s);
  s.norm = true;
  Check(s);
  s.block_size = 64;
  Check(s);
}

TEST(BlockCopy, CopiesEachPairInEachBuffer) {
  SLIP_REQUIRE_DEVICE();
  constexpr int kBlocks = 9;
  constexpr int64_t kStride = 70000 / 16 * 16, kBytes = kStride - 48;
  std::mt19937 rng(2);
  std::vector<unsigned char> a(kBlocks * kStride), b(a.size());
  for (auto& x : a) x = static_cast<unsigned char>(rng());
  for (auto& x : b) x = static_cast<unsigned char>(rng());
  const std::vector<int32_t> pairs = {0, 5, 3, 8, 0, 1};
  DeviceBytes da(a), db(b), dpairs(pairs);
  const std::vector<void*> device_buffers = {da.get(), db.get()};
  DeviceBytes buffers(device_buffers);
  void* host_buffers[] = {a.data(), b.data()};
  ASSERT_EQ(BlockCopyReference({host_buffers, pairs.data(), kStride, kBytes, 2, 3}),
            KernelStatus::kOk);
  ASSERT_EQ(
      BlockCopy({buffers.get<void*>(), dpairs.get<int32_t>(), kStride, kBytes, 2, 3}, nullptr),
      KernelStatus::kOk);
  SLIP_CUDA_OK(cudaDeviceSynchronize());
  EXPECT_EQ(da.Download<unsigned char>(), a);
  EXPECT_EQ(db.Download<unsigned char>(), b);
  EXPECT_EQ(BlockCopy({nullptr, nullptr, 15, 16, 1, 1}, nullptr), KernelStatus::kInvalidArgument);
}

}  // namespace
}  // namespace slipstream::kernels
