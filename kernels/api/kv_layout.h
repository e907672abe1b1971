// Where one element of K or V lives inside a KV cache. Pure arithmetic on values; thread-safe,
// cannot fail; compiles for host and device. kv_write, attention, references and tests share it.
//
// The cache of one layer is made of tiles: tile(block, kv_head) = base + block * block_stride_bytes
// + kv_head * head_stride_bytes holds block_size tokens of one head in one contiguous span of
// block_size * head_dim elements. Inside a tile:
//   kPlain    [block_size, head_dim], row major. The reference's; the CPU kernels have their own
//             (cpu_attention.h).
//   kSwizzled what the sm_90 kernels use: what a plain 1-D bulk copy of 8 or more tokens has to put
//             into shared memory so that both kinds of tensor core instructions read it there
//             without bank conflicts. Eight tokens form a contiguous group of 8 * row bytes.
//             16-bit caches: the group is a sequence of swizzle atoms, 8 tokens x 128 bytes of the
//             row (64 bytes for rows that are no multiple of 128), in which the 16-byte chunks of
//             a token are permuted by an XOR with the token index. These are the canonical atoms
//             of wgmma: K is a K-major operand and V, from the same bytes, an MN-major one.
//             8-bit caches: K rows stay whole, their chunks permuted in the same way. V is
//             transposed in groups of 16 tokens, [block_size / 16, head_dim, 16], because the
//             tensor cores want tokens contiguous and 8-bit data cannot be transposed on the way
//             to registers; see ValueByteOffset.
#pragma once

#include <cstdint>

#include "kernels/api/types.h"

#if defined(__CUDACC__)
#define SLIP_HOST_DEVICE __host__ __device__
#else
#define SLIP_HOST_DEVICE
#endif

namespace slipstream::kernels {

enum class KvLayout : uint8_t { kPlain, kSwizzled };

// XOR applied to the 16-byte chunk index of row `token`. Eight consecutive rows at one logical
// chunk then fall into eight different groups of four banks whatever the row length.
// REQUIRES: row_bytes is a multiple of 32.
SLIP_HOST_DEVICE constexpr int ChunkSwizzle(int token, int row_bytes) {
  return row_bytes % 128 == 0  ? (token & 7)
         : row_bytes % 64 == 0 ? ((token >> 1) & 3)
                               : ((token >> 2) & 1);
}

// Bytes of a row that one swizzle atom of a kSwizzled tile holds; atoms of 8 tokens follow each
// other along the row, groups of 8 tokens along the tile. An 8-bit cache has one atom a row.
SLIP_HOST_DEVICE constexpr int AtomRowBytes(int row_bytes, int elem_bytes) {
  if (elem_bytes == 1) return row_bytes;
  return row_bytes % 128 == 0 ? 128 : row_bytes % 64 == 0 ? 64 : 32;
}

// Byte offset of K[token][d] inside its tile. REQUIRES: elem_bytes is 1, 2 or 4.
SLIP_HOST_DEVICE constexpr int64_t KeyByteOffset(KvLayout layout, int token, int d, int head_dim,
                                                 int elem_bytes) {
  const int row_bytes = head_dim * elem_bytes;
  const int byte = d * elem_bytes;
  if (layout == KvLayout::kPlain) return int64_t{token} * row_bytes + byte;
  const int atom_bytes = AtomRowBytes(row_bytes, elem_bytes);
  const int chunk = (byte % atom_bytes >> 4) ^ ChunkSwizzle(token, row_bytes);
  return int64_t{token >> 3} * row_bytes * 8 + byte / atom_bytes * atom_bytes * 8 +
         (token & 7) * atom_bytes + chunk * 16 + (byte & 15);
}

// Byte offset of V[token][d] inside its tile. For 8-bit caches token t of a group of 16 sits at
// byte (t % 8) * 2 + t / 8 of its row: the order in which a transposed score fragment arrives.
SLIP_HOST_DEVICE constexpr int64_t ValueByteOffset(KvLayout layout, int token, int d, int head_dim,
                                                   int elem_bytes) {
  if (layout == KvLayout::kPlain || elem_bytes != 1) {
    return KeyByteOffset(layout, token, d, head_dim, elem_bytes);
  }
  const int t = token & 15;
  return int64_t{token >> 4} * head_dim * 16 + d * 16 + (t & 7) * 2 + (t >> 3);
}

// K and V of one layer. The cache is owned by the runtime; this is a view of device (or, for CPU
// kernels, host) memory. K and V of one tile may be adjacent (v == k + tile bytes with a doubled
// stride) or live in two arrays. REQUIRES for kSwizzled: base pointers 128-byte aligned, strides
// multiples of 128, block_size a multiple of 16.
struct KvCacheView {
  void* k = nullptr;
  void* v = nullptr;
  DType dtype = DType::kBF16;  // kBF16, kF16, kF8E4M3; kF32 with kPlain only
  KvLayout layout = KvLayout::kSwizzled;
  int64_t block_stride_bytes = 0;  // of K and of V
  int64_t head_stride_bytes = 0;   // of K and of V
  int num_blocks = 0;
  int block_size = 16;  // tokens
  int num_kv_heads = 0;
  int head_dim = 0;
  float k_scale = 1.0f;  // real value = stored value * scale; used by 8-bit caches
  float v_scale = 1.0f;
};

}  // namespace slipstream::kernels
