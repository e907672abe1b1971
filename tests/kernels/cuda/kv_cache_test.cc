// KV write and block copy against their references.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

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
  bool q_norm = false, k_norm = false;
  int tokens = 9;
  int row_gap = 0;        // elements between the rows of two tokens, poisoned
  int shift = 0;          // elements before the first row, poisoned
  bool adjacent = false;  // V of a tile behind its K
  bool dependent = false;

  std::string Name() const {
    return std::string(NameOf(dtype)) + " into " + NameOf(kv_dtype) +
           (layout == KvLayout::kPlain ? " plain" : " swizzled") + ", head_dim " +
           std::to_string(head_dim) + ", rotary " + std::to_string(rotary_dim) + " style " +
           std::to_string(static_cast<int>(rope)) + ", block " + std::to_string(block_size) +
           ", heads " + std::to_string(num_heads) + "/" + std::to_string(kv_heads) + ", norms " +
           std::to_string(q_norm) + std::to_string(k_norm) + ", tokens " + std::to_string(tokens) +
           ", gap " + std::to_string(row_gap) + " shift " + std::to_string(shift) +
           (adjacent ? ", adjacent" : "") + (dependent ? ", dependent" : "");
  }
};

std::vector<float> Floats(const std::vector<unsigned char>& x, DType t) {
  const int bytes = GeometryOf(t).block_bytes;
  std::vector<float> f(x.size() / bytes);
  for (size_t i = 0; i < f.size(); ++i) f[i] = LoadElement(&x[i * bytes], t);
  return f;
}

// Equal up to one rounding step of the storage type (the device's rotation fuses multiply-adds).
void ExpectNear(const char* array, const std::vector<float>& got, const std::vector<float>& want,
                DType t) {
  const float ulp = t == DType::kF8E4M3 ? 0.13f : t == DType::kBF16 ? 0.009f : 0.0012f;
  ASSERT_EQ(got.size(), want.size());
  int bad = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const bool good = std::isnan(want[i])
                          ? std::isnan(got[i])  // what nobody asked to write
                          : std::fabs(got[i] - want[i]) <= ulp * std::fabs(want[i]) + 2e-3f;
    if (good || ++bad > 5) continue;
    ADD_FAILURE() << array << " at " << i << ": " << got[i] << ", want " << want[i];
  }
  EXPECT_EQ(bad, 0) << array << ", of " << got.size();
}

void Check(const WriteSpec& s) {
  SLIP_REQUIRE_DEVICE();
  SCOPED_TRACE(s.Name());
  std::mt19937 rng(5);
  std::normal_distribution<float> normal;
  const int tokens = s.tokens, width = (s.num_heads + 2 * s.kv_heads) * s.head_dim;
  const int blocks = (tokens / s.block_size + 6) / 7 * 7 + 6;  // slots have no factor of 7
  const int stride = width + s.row_gap;
  std::vector<uint16_t> qkv(s.shift + size_t(tokens) * stride, 0xFFFF);
  const int half = s.rotary_dim / 2, positions_max = 300;
  std::vector<float> cos(positions_max * half), sin(cos.size()), norm(s.head_dim),
      k_norm(s.head_dim);
  for (int p = 0; p < positions_max; ++p) {
    for (int i = 0; i < half; ++i) {
      const float angle = p * std::pow(10000.0f, -static_cast<float>(i) / half);
      cos[p * half + i] = std::cos(angle), sin[p * half + i] = std::sin(angle);
    }
  }
  for (float& x : norm) x = 1.0f + 0.2f * normal(rng);
  for (float& x : k_norm) x = 1.0f + 0.2f * normal(rng);
  std::vector<int64_t> slots(tokens);
  std::vector<int32_t> positions(tokens);
  for (int t = 0; t < tokens; ++t) {
    slots[t] = t == 6 ? INT64_MIN : t % 5 == 4 ? -1 : (t * 7 + 3) % (blocks * s.block_size);
    positions[t] = rng() % positions_max;
    const int written = slots[t] < 0 ? s.num_heads * s.head_dim : width;  // K and V stay poison
    for (int i = 0; i < written; ++i) {
      StoreElement(&qkv[s.shift + size_t(t) * stride + i], s.dtype, normal(rng));
    }
  }
  const int bytes = GeometryOf(s.kv_dtype).block_bytes;
  const int64_t tile = int64_t{s.block_size} * s.head_dim * bytes;
  const int64_t head_stride = s.adjacent ? 2 * tile : tile;
  std::vector<unsigned char> k(head_stride * s.kv_heads * blocks, 0xFF), v(k);

  KvWriteParams p;
  p.dtype = s.dtype;
  p.q_token_stride = p.k_token_stride = p.v_token_stride = stride;
  p.kv = {k.data(),    v.data(), s.kv_dtype,   s.layout,   head_stride * s.kv_heads,
          head_stride, blocks,   s.block_size, s.kv_heads, s.head_dim};
  if (s.adjacent) p.kv.v = k.data() + tile;
  if (s.kv_dtype == DType::kF8E4M3) p.kv.k_scale = 0.5f, p.kv.v_scale = 0.25f;
  p.rope = s.rope;
  p.rotary_dim = s.rotary_dim;
  p.num_tokens = tokens;
  p.num_heads = s.num_heads;
  KvWriteParams d = p;
  const auto set = [&](KvWriteParams& x, uint16_t* rows) {
    x.q = rows + s.shift;
    x.k = rows + s.shift + s.num_heads * s.head_dim;
    x.v = rows + s.shift + (s.num_heads + s.kv_heads) * s.head_dim;
  };
  DeviceBytes dqkv(qkv), dk(k), dv(v), dcos(cos), dsin(sin), dnorm(norm), dk_norm(k_norm),
      dslots(slots), dpositions(positions);
  set(p, qkv.data());
  p.slot_ids = slots.data(), p.positions = positions.data();
  p.cos = cos.data(), p.sin = sin.data();
  if (s.q_norm) p.q_norm = norm.data();
  if (s.k_norm) p.k_norm = k_norm.data();
  set(d, dqkv.get<uint16_t>());
  d.kv.k = dk.get(), d.kv.v = s.adjacent ? dk.get<unsigned char>() + tile : dv.get();
  d.slot_ids = dslots.get<int64_t>(), d.positions = dpositions.get<int32_t>();
  d.cos = dcos.get<float>(), d.sin = dsin.get<float>();
  if (s.q_norm) d.q_norm = dnorm.get<float>();
  if (s.k_norm) d.k_norm = dk_norm.get<float>();
  ASSERT_EQ(KvWriteReference(p), KernelStatus::kOk);
  ASSERT_EQ(KvWrite(d, s.dependent, nullptr), KernelStatus::kOk);
  SLIP_CUDA_OK(cudaDeviceSynchronize());
  ExpectNear("k", Floats(dk.Download<unsigned char>(), s.kv_dtype), Floats(k, s.kv_dtype),
             s.kv_dtype);
  ExpectNear("v", Floats(dv.Download<unsigned char>(), s.kv_dtype), Floats(v, s.kv_dtype),
             s.kv_dtype);
  std::vector<unsigned char> rows(qkv.size() * 2);
  std::memcpy(rows.data(), qkv.data(), rows.size());
  ExpectNear("rows", Floats(dqkv.Download<unsigned char>(), s.dtype), Floats(rows, s.dtype),
             s.dtype);
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
  s.q_norm = s.k_norm = true;
  Check(s);
  s.block_size = 64;
  Check(s);
}

TEST(KvWrite, EveryHeadDimStyleNormAndPartOfARotation) {
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    for (int head_dim : {64, 96, 128, 256}) {
      for (RopeStyle rope : {RopeStyle::kNone, RopeStyle::kNeox, RopeStyle::kInterleaved}) {
        for (int rotary_dim : {head_dim, head_dim / 2, 16, 20, head_dim - 16}) {
          for (int norms = 0; norms < 4; ++norms) {
            WriteSpec s;
            s.dtype = s.kv_dtype = dtype;
            s.head_dim = head_dim;
            s.rotary_dim = rotary_dim;
            s.rope = rope;
            s.q_norm = norms & 1, s.k_norm = norms & 2;
            s.row_gap = 8 * norms;
            s.dependent = true;
            Check(s);
          }
        }
      }
    }
  }
}

TEST(KvWrite, EveryNumberOfTokensAndHeads) {
  struct Heads {
    int num_heads, kv_heads;
  };
  for (const Heads heads : {Heads{32, 8}, {28, 4}, {5, 1}, {0, 3}, {1, 1}}) {
    for (int tokens : {1, 2, 33, 64}) {
      for (int block_size : {16, 48, 128}) {
        WriteSpec s;
        s.num_heads = heads.num_heads, s.kv_heads = heads.kv_heads;
        s.tokens = tokens;
        s.block_size = block_size;
        s.k_norm = tokens == 33;
        s.dependent = tokens % 2 == 0;
        Check(s);
      }
    }
  }
}

// More CTAs than run at once: angles are read in another order.
TEST(KvWrite, ManyTokens) {
  for (DType kv : {DType::kBF16, DType::kF8E4M3}) {
    for (int head_dim : {64, 128, 256}) {
      WriteSpec s;
      s.kv_dtype = kv;
      s.head_dim = s.rotary_dim = head_dim;
      s.num_heads = 8, s.kv_heads = 1;
      s.tokens = 1101;
      s.q_norm = s.k_norm = head_dim == 64;
      Check(s);
    }
  }
}

TEST(KvWrite, KeysAndValuesOfATileSideBySide) {
  for (DType kv : {DType::kBF16, DType::kF8E4M3}) {
    WriteSpec s;
    s.kv_dtype = kv;
    s.adjacent = true;
    Check(s);
  }
}

// Rows that no 16-byte access reaches, and head dims that have no kernel of their own.
TEST(KvWrite, OddAddressesAndHeadDims) {
  WriteSpec s;
  s.shift = 2;
  Check(s);
  s.shift = 0, s.row_gap = 2;
  Check(s);
  s.row_gap = 0;
  for (int head_dim : {32, 160, 192}) {
    s.head_dim = s.rotary_dim = head_dim;
    s.q_norm = s.k_norm = head_dim == 160;
    Check(s);
  }
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
