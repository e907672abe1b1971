// Walks the paged cache: splits work into units, loads key tiles, keeps the partition states.
#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/attention_units.h"
#include "kernels/cpu/kernels.h"

namespace slipstream::kernels::SLIP_ISA {
namespace {

// A worker's scratch, laid out by AttentionScratchBytes.
struct Scratch {
  QueryRows rows;
  float* total_acc;
  float* total_max;
  float* total_sum;
  float* k;  // [head_dim, kTileKeys]
  float* v;  // [kTileKeys, padded_dim]
};

SLIP_INLINE Scratch BindScratch(const CpuAttentionParams& p, float* at) {
  const int64_t pad = PaddedHeadDim(p.kv.head_dim);
  Scratch s;
  s.rows.head_dim = p.kv.head_dim;
  s.rows.padded_dim = static_cast<int>(pad);
  s.rows.softcap = p.logit_softcap;
  s.rows.q = at;
  s.rows.acc = s.rows.q + kUnitRows * pad;
  s.total_acc = s.rows.acc + kUnitRows * pad;
  s.k = s.total_acc + kUnitRows * pad;
  s.v = s.k + kTileKeys * pad;
  s.rows.prob = s.v + kTileKeys * pad;
  s.rows.max = s.rows.prob + kTileRowsMax * kTileKeys;
  s.rows.sum = s.rows.max + kUnitRows;
  s.total_max = s.rows.sum + kUnitRows;
  s.total_sum = s.total_max + kUnitRows;
  s.rows.first_key = reinterpret_cast<int64_t*>(s.total_sum + kUnitRows);
  s.rows.last_key = s.rows.first_key + kUnitRows;
  return s;
}

// Copies and scales the q rows of the unit and notes which keys each may see.
void LoadRows(const CpuAttentionParams& p, const AttentionUnit& u, Scratch* s) {
  const int64_t group = p.num_heads / p.kv.num_kv_heads, hd = p.kv.head_dim;
  const int64_t queries = p.query_start[u.seq + 1] - p.query_start[u.seq];
  s->rows.count = static_cast<int>(u.row_end - u.row_begin);
  for (int i = 0; i < s->rows.count; ++i) {
    const int64_t query = (u.row_begin + i) / group, head = (u.row_begin + i) % group;
    const float* q =
        p.q + (p.query_start[u.seq] + query) * p.q_stride + (u.kv_head * group + head) * hd;
    float* out = s->rows.q + i * s->rows.padded_dim;
    for (int64_t d = 0; d < hd; d += kLanes) {
      Store(out + d, Mul(LoadN(q + d, hd - d), Set1(p.scale)));
    }
    const int64_t last = p.kv_len[u.seq] - queries + query;
    s->rows.last_key[i] = last;
    s->rows.first_key[i] = p.sliding_window > 0 ? MaxOf(0, last - p.sliding_window + 1) : 0;
  }
}

SLIP_INLINE float ReadKv(DType dtype, const void* base, int64_t at) {
  if (dtype == DType::kF32) return static_cast<const float*>(base)[at];
  uint16_t lanes[kLanes] = {static_cast<const uint16_t*>(base)[at]};
  float out[kLanes];
  Store(out, dtype == DType::kF16 ? LoadF16(lanes) : LoadBf16(lanes));
  return out[0];
}

// n <= 16 neighbouring elements as floats, zero beyond n.
SLIP_INLINE F32x16 ReadKvVector(DType dtype, const void* base, int64_t at, int64_t n) {
  if (dtype == DType::kF32) return LoadN(static_cast<const float*>(base) + at, n);
  const uint16_t* p = static_cast<const uint16_t*>(base) + at;
  uint16_t lanes[kLanes] = {};
  if (n < kLanes) {
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    p = lanes;
  }
  return dtype == DType::kF16 ? LoadF16(p) : LoadBf16(p);
}

// Points a tile into the cache, or copies it to scratch where the cache is not float32, its blocks
// are not whole vectors, or head_dim is not.
void LoadTile(const CpuAttentionParams& p, const AttentionUnit& u, int64_t start, int num_keys,
              Scratch* s, KeyTile* tile) {
  const CpuKvView& kv = p.kv;
  const int32_t* table = p.block_tables + static_cast<int64_t>(u.seq) * p.max_blocks;
  const int64_t pad = s->rows.padded_dim, hd = kv.head_dim, bs = kv.block_size;
  tile->num_keys = num_keys;
  const bool direct = kv.dtype == DType::kF32 && bs % kLanes == 0 && pad == hd;
  tile->k_step = direct ? bs : kTileKeys;
  for (int j = 0; j < kTileVectors; ++j) {
    const int64_t key = start + (j * kLanes < num_keys ? j * kLanes : 0);
    const int64_t at = table[key / bs] * kv.block_stride + u.kv_head * kv.head_stride + key % bs;
    tile->k[j] = direct ? static_cast<const float*>(kv.k) + at : s->k + j * kLanes;
  }
  for (int key = 0; key < num_keys; ++key) {
    const int64_t pos = start + key, slot = pos % bs;
    const int64_t at = table[pos / bs] * kv.block_stride + u.kv_head * kv.head_stride;
    if (direct) {
      tile->v[key] = static_cast<const float*>(kv.v) + at + slot * hd;
      continue;
    }
    float* v = s->v + key * pad;
    tile->v[key] = v;
    for (int64_t d = 0; d < pad; d += kLanes) {
      Store(v + d, ReadKvVector(kv.dtype, kv.v, at + slot * hd + d, hd - d));
    }
    if (bs % kLanes != 0) {
      for (int64_t d = 0; d < hd; ++d) {
        s->k[d * kTileKeys + key] = ReadKv(kv.dtype, kv.k, at + d * bs + slot);
      }
    } else if (key % kLanes == 0) {
      for (int64_t d = 0; d < hd; ++d) {
        Store(s->k + d * kTileKeys + key, ReadKvVector(kv.dtype, kv.k, at + d * bs + slot, kLanes));
      }
    }
  }
}

// States of the unit's rows over the keys of one partition.
void AttendPartition(const CpuAttentionParams& p, const AttentionUnit& u, int64_t partition,
                     Scratch* s) {
  const QueryRows& rows = s->rows;
  for (int i = 0; i < rows.count; ++i) {
    rows.max[i] = kNoMax;
    rows.sum[i] = 0.0f;
  }
  for (int64_t i = 0; i < static_cast<int64_t>(rows.count) * rows.padded_dim; i += kLanes) {
    Store(rows.acc + i, Zero());
  }
  const int64_t end = rows.last_key[rows.count - 1] + 1;  // rows are in order of position
  const int64_t stop = MinOf(end, (partition + 1) * kAttentionPartition);
  KeyTile tile;
  for (int64_t t = partition * kAttentionPartition; t < stop; t += kTileKeys) {
    if (t + kTileKeys <= rows.first_key[0]) continue;  // before every row's window
    LoadTile(p, u, t, static_cast<int>(MinOf(kTileKeys, end - t)), s, &tile);
    AttendTile(rows, tile, t);
  }
}

SLIP_INLINE void StoreRow(const CpuAttentionParams& p, const AttentionUnit& u, int64_t row,
                          const float* acc, float sum) {
  const int64_t group = p.num_heads / p.kv.num_kv_heads, hd = p.kv.head_dim;
  const int64_t query = p.query_start[u.seq] + row / group;
  float* out = p.out + (query * p.num_heads + u.kv_head * group + row % group) * hd;
  const F32x16 inverse = Set1(1.0f / sum);
  for (int64_t d = 0; d < hd; d += kLanes) StoreN(out + d, Mul(Load(acc + d), inverse), hd - d);
}

// All partitions of the rows, one after the other.
void AttendAll(const CpuAttentionParams& p, const AttentionUnit& u, Scratch* s) {
  const QueryRows& rows = s->rows;
  const int64_t pad = rows.padded_dim;
  const int64_t last = rows.last_key[rows.count - 1] / kAttentionPartition;
  const int64_t first = rows.first_key[0] / kAttentionPartition;
  for (int64_t partition = first; partition <= last; ++partition) {
    AttendPartition(p, u, partition, s);
    for (int i = 0; i < rows.count; ++i) {
      float* acc = s->total_acc + i * pad;
      if (partition == first) {
        s->total_max[i] = kNoMax;
        s->total_sum[i] = 0.0f;
        for (int64_t d = 0; d < pad; d += kLanes) Store(acc + d, Zero());
      }
      MergeState(&s->total_max[i], &s->total_sum[i], acc, rows.max[i], rows.sum[i],
                 rows.acc + i * pad, rows.padded_dim);
    }
  }
  for (int i = 0; i < rows.count; ++i) {
    StoreRow(p, u, u.row_begin + i, s->total_acc + i * pad, s->total_sum[i]);
  }
}

}  // namespace

void Attention(const CpuAttentionParams& p, Part part) {
  const auto bytes = AttentionScratchBytes(p);
  Scratch s = BindScratch(p, p.scratch + part.index * static_cast<int64_t>(bytes / sizeof(float)));
  const int64_t pad = s.rows.padded_dim;
  AttentionUnit u;
  UnitWalk walk;
  for (int64_t n = 0; NextUnit(p, &walk, &u); ++n) {
    if (n % part.count != part.index) continue;
    LoadRows(p, u, &s);
    if (u.partition < 0) {
      AttendAll(p, u, &s);
      continue;
    }
    AttendPartition(p, u, u.partition, &s);
    for (int i = 0; i < s.rows.count; ++i) {
      float* out = p.partials + (u.partial_row + i) * (pad + kLanes);
      out[0] = s.rows.max[i];
      out[1] = s.rows.sum[i];
      for (int64_t d = 0; d < pad; d += kLanes) {
        Store(out + kLanes + d, Load(s.rows.acc + i * pad + d));
      }
    }
  }
}

void AttentionCombine(const CpuAttentionParams& p, Part part) {
  const auto bytes = AttentionScratchBytes(p);
  Scratch s = BindScratch(p, p.scratch + part.index * static_cast<int64_t>(bytes / sizeof(float)));
  const int64_t pad = s.rows.padded_dim;
  AttentionUnit u;
  UnitWalk walk;
  int64_t n = 0;
  while (NextUnit(p, &walk, &u)) {
    if (u.partition < 0 || u.partition != u.first_partition) continue;
    if (n++ % part.count != part.index) continue;
    const int64_t rows = u.row_end - u.row_begin;
    for (int64_t i = 0; i < rows; ++i) {
      float max = kNoMax, sum = 0.0f;
      for (int64_t d = 0; d < pad; d += kLanes) Store(s.total_acc + d, Zero());
      for (int64_t k = 0; k < u.num_partitions; ++k) {
        const float* in = p.partials + (u.partial_row + k * rows + i) * (pad + kLanes);
        MergeState(&max, &sum, s.total_acc, in[0], in[1], in + kLanes, static_cast<int>(pad));
      }
      StoreRow(p, u, u.row_begin + i, s.total_acc, sum);
    }
  }
}

}  // namespace slipstream::kernels::SLIP_ISA
