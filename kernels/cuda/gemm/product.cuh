// Warpgroup matrix products (PTX ISA, wgmma.mma_async): D[64, N] += A[64, 16] B[N, 16]^T with both
// operands in shared memory, K-major, in the 128-byte swizzle that bulk tensor copies write. Four
// consecutive warps starting at a multiple of four execute every function together.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace slipstream::kernels {

// Descriptor of a tile of 128-byte rows (64 16-bit elements of K). Groups of 8 rows are 1024 bytes
// apart; the tile starts on a multiple of 1024. A step of 16 in K adds 32 bytes to `addr`: the
// hardware applies the swizzle to address bits, so the offset stays linear within a row.
__device__ __forceinline__ uint64_t SwizzledTile(uint32_t addr) {
  constexpr uint64_t kLeading = uint64_t{1} << 16;         // not used by swizzled K-major tiles
  constexpr uint64_t kStride = uint64_t{1024 >> 4} << 32;  // between groups of 8 rows
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | kStride | kLeading | ((addr & 0x3FFFF) >> 4);
}

// Orders this thread's accesses to accumulators before the products that follow.
__device__ __forceinline__ void ProductFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
// Closes the group of products issued so far and waits until it has written its accumulators and
// read its operands.
__device__ __forceinline__ void ProductFinish() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

// Keeps the compiler from moving accumulators across this point: it does not know that a product
// writes its registers until ProductFinish.
template <int kBlocks, int kRegs>
__device__ __forceinline__ void HoldAccumulators(float (&d)[kBlocks][kRegs]) {
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
    for (int i = 0; i < kRegs; ++i) asm volatile("" : "+f"(d[b][i])::"memory");
  }
}

// SwizzledProduct<T, N>::Run(d, a, b). Thread t of the warpgroup holds, for j < N / 8, d[4j + 2h +
// e] = D[row 16 (t / 32) + t % 32 / 4 + 8h][column 8j + 2 (t % 4) + e].
template <typename T, int kN>
struct SwizzledProduct;

// Register names by tens and operand lists by fours, so that one macro serves every N.
#define SLIP_TENS(t)                                                                               \
  "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t \
  "9"
#define SLIP_REGS4 "%0, %1, %2, %3"
#define SLIP_REGS8 SLIP_REGS4 ", %4, %5, %6, %7"
#define SLIP_REGS16 SLIP_TENS() ", %10, %11, %12, %13, %14, %15"
#define SLIP_REGS32 SLIP_TENS() ", " SLIP_TENS(1) ", " SLIP_TENS(2) ", %30, %31"
// clang-format off
#define SLIP_REGS64                                                                      \
  SLIP_TENS() ", " SLIP_TENS(1) ", " SLIP_TENS(2) ", " SLIP_TENS(3) ", " SLIP_TENS(4)    \
  ", " SLIP_TENS(5) ", %60, %61, %62, %63"
// clang-format on
#define SLIP_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SLIP_D8(i) SLIP_D4(i), SLIP_D4(i + 4)
#define SLIP_D16(i) SLIP_D8(i), SLIP_D8(i + 8)
#define SLIP_D32(i) SLIP_D16(i), SLIP_D16(i + 16)
#define SLIP_D64(i) SLIP_D32(i), SLIP_D32(i + 32)

// `a`, `b`, `one` are the numbers of the operands after the R accumulators.
#define SLIP_PRODUCT(T, TYPE, N, R, a_, b_, one)                                           \
  template <>                                                                              \
  struct SwizzledProduct<T, N> {                                                           \
    __device__ static __forceinline__ void Run(float (&d)[R], uint64_t a, uint64_t b) {    \
      asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %" #one             \
                   ", 0;\n"                                                                \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE         \
                   " {" SLIP_REGS##R "}, %" #a_ ", %" #b_ ", accumulate, 1, 1, 0, 0;\n}\n" \
                   : SLIP_D##R(0)                                                          \
                   : "l"(a), "l"(b), "r"(1));                                              \
    }                                                                                      \
  };
#define SLIP_PRODUCT_SIZES(T, TYPE)         \
  SLIP_PRODUCT(T, TYPE, 8, 4, 4, 5, 6)      \
  SLIP_PRODUCT(T, TYPE, 16, 8, 8, 9, 10)    \
  SLIP_PRODUCT(T, TYPE, 32, 16, 16, 17, 18) \
  SLIP_PRODUCT(T, TYPE, 64, 32, 32, 33, 34) \
  SLIP_PRODUCT(T, TYPE, 128, 64, 64, 65, 66)
SLIP_PRODUCT_SIZES(__nv_bfloat16, "bf16")
SLIP_PRODUCT_SIZES(__half, "f16")

#undef SLIP_PRODUCT_SIZES
#undef SLIP_PRODUCT
#undef SLIP_D64
#undef SLIP_D32
#undef SLIP_D16
#undef SLIP_D8
#undef SLIP_D4
#undef SLIP_REGS64
#undef SLIP_REGS32
#undef SLIP_REGS16
#undef SLIP_REGS8
#undef SLIP_REGS4
#undef SLIP_TENS

}  // namespace slipstream::kernels
