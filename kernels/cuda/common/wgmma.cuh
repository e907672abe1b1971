// Warpgroup-level matrix products (wgmma, sm_90a) as functions on register fragments (PTX ISA,
// "asynchronous warpgroup level matrix instructions"). Device code only; every function is called
// by all four warps of a warpgroup.
//
// The products run behind the thread's back: between the call and WgmmaWait the fragments may not
// be touched. FenceRegisters keeps the compiler from moving uses of a fragment across such a point.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace slipstream::kernels {

__device__ __forceinline__ void WgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most `kPending` of the committed groups are unfinished.
template <int kPending>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

template <int kCount>
__device__ __forceinline__ void FenceRegisters(float (&r)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(r[i])::"memory");
}
template <int kCount>
__device__ __forceinline__ void FenceRegisters(uint32_t (&r)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(r[i])::"memory");
}

// Makes this thread's ordinary writes to shared memory visible to wgmma and bulk copies.
__device__ __forceinline__ void FenceAsyncProxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Matrix descriptor of a swizzled operand in shared memory. `atom_row_bytes` is the swizzle width,
// 128 or 64; `group_bytes` lies between groups of 8 rows. A K-major operand has its rows along M or
// N and ignores `atom_bytes`; an MN-major one has them along K, and `atom_bytes` lies between its
// atoms along N. The start address, in units of 16 bytes, is the lowest field: adding to the
// descriptor moves it.
// REQUIRES: `address` lies in an atom aligned to its size.
__device__ __forceinline__ uint64_t MatrixDescriptor(uint32_t address, int atom_row_bytes,
                                                     int atom_bytes, int group_bytes) {
  const uint64_t swizzle = atom_row_bytes == 128 ? 1 : 2;
  return swizzle << 62 | static_cast<uint64_t>(group_bytes >> 4) << 32 |
         static_cast<uint64_t>(atom_bytes >> 4) << 16 | (address & 0x3FFFF) >> 4;
}

// D[64, kN] (+)= A[64, 16] B[16, kN]. Fragment of D: element 4 j + 2 h + e of lane l of warp w is
// row 16 w + l / 4 + 8 h, column 8 j + 2 (l % 4) + e. A in registers: the four 8 x 8 quarters (row,
// then column) of 16 columns of such a fragment, in pairs.
template <typename T, int kN>
struct Wgmma;

// clang-format off
#define SLIP_WGMMA_D64 \
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21," \
        "%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}"
#define SLIP_WGMMA_IO64 \
        "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), \
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), \
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), \
        "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), \
        "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define SLIP_WGMMA_D80 \
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21," \
        "%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39}"
#define SLIP_WGMMA_IO80 \
        "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), \
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), \
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), \
        "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), \
        "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
        "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), \
        "+f"(d[38]), "+f"(d[39])
#define SLIP_WGMMA_D96 \
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21," \
        "%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41," \
        "%42,%43,%44,%45,%46,%47}"
#define SLIP_WGMMA_IO96 \
        "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), \
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), \
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), \
        "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), \
        "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
        "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), \
        "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), \
        "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define SLIP_WGMMA_D128 \
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21," \
        "%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41," \
        "%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61," \
        "%62,%63}"
#define SLIP_WGMMA_IO128 \
        "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), \
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), \
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), \
        "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), \
        "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
        "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), \
        "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), \
        "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), \
        "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), \
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), \
        "+f"(d[62]), "+f"(d[63])

// A and B from shared memory, both K-major.
#define SLIP_WGMMA_KEYS(TYPE, N, A, B, P) \
  template <bool kAccumulate> \
  static __device__ __forceinline__ void Shared(float (&d)[N / 2], uint64_t a, uint64_t b) { \
    asm volatile("{.reg .pred p; setp.ne.b32 p, " P ", 0;" \
        "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " " \
        SLIP_WGMMA_D##N ", " A ", " B ", p, 1, 1, 0, 0;}" \
        : SLIP_WGMMA_IO##N : "l"(a), "l"(b), "n"(kAccumulate ? 1 : 0)); \
  }
// A from registers, B from shared memory, MN-major.
#define SLIP_WGMMA_VALUES(TYPE, N, A0, A1, A2, A3, B) \
  static __device__ __forceinline__ void Accumulate(float (&d)[N / 2], const uint32_t* a, \
                                                    uint64_t b) { \
    asm volatile("{.reg .pred p; setp.ne.b32 p, 1, 0;" \
        "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " " \
        SLIP_WGMMA_D##N ", {" A0 "," A1 "," A2 "," A3 "}, " B ", p, 1, 1, 1;}" \
        : SLIP_WGMMA_IO##N : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)); \
  }
#define SLIP_WGMMA(T, TYPE) \
  template <> struct Wgmma<T, 64> { \
    SLIP_WGMMA_VALUES(TYPE, 64, "%32", "%33", "%34", "%35", "%36") \
  }; \
  template <> struct Wgmma<T, 80> { \
    SLIP_WGMMA_KEYS(TYPE, 80, "%40", "%41", "%42") \
  }; \
  template <> struct Wgmma<T, 96> { \
    SLIP_WGMMA_VALUES(TYPE, 96, "%48", "%49", "%50", "%51", "%52") \
  }; \
  template <> struct Wgmma<T, 128> { \
    SLIP_WGMMA_KEYS(TYPE, 128, "%64", "%65", "%66") \
    SLIP_WGMMA_VALUES(TYPE, 128, "%64", "%65", "%66", "%67", "%68") \
  };

SLIP_WGMMA(__nv_bfloat16, "bf16")
SLIP_WGMMA(__half, "f16")
#undef SLIP_WGMMA
#undef SLIP_WGMMA_KEYS
#undef SLIP_WGMMA_VALUES
#undef SLIP_WGMMA_D64
#undef SLIP_WGMMA_IO64
#undef SLIP_WGMMA_D80
#undef SLIP_WGMMA_IO80
#undef SLIP_WGMMA_D96
#undef SLIP_WGMMA_IO96
#undef SLIP_WGMMA_D128
#undef SLIP_WGMMA_IO128
// clang-format on

}  // namespace slipstream::kernels
