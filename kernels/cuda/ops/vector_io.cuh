// Eight elements of a row at a time as floats, through 16-byte accesses, and the scalar forms.
// Device code only, but for the host helpers that pick a path.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/common/mma.cuh"

namespace slipstream::kernels {

constexpr int kVec = 8;  // elements of one vector access

__device__ __forceinline__ float ToFloat(float x) { return x; }
__device__ __forceinline__ float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float ToFloat(__half x) { return __half2float(x); }

template <typename T>
__device__ __forceinline__ T FromFloat(float x);
template <>
__device__ __forceinline__ float FromFloat<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 FromFloat<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half FromFloat<__half>(float x) {
  return __float2half_rn(x);
}

// What 8 or 16 bytes hold in memory: loaded first and unpacked later, so that loads need not wait
// for each other. Rows that this kernel writes, or the one before wrote, go past the L1.
template <typename T, int kElems>
struct Raw {
  static constexpr int kWords = kElems * sizeof(T) / 4;
  static_assert(kWords == 2 || kWords == 4);
  uint32_t words[kWords];

  // REQUIRES: p aligned to the bytes of the elements.
  __device__ __forceinline__ void Load(const T* p) {
    if constexpr (kWords == 4) {
      const uint4 a = __ldcg(reinterpret_cast<const uint4*>(p));
      words[0] = a.x, words[1] = a.y, words[2] = a.z, words[3] = a.w;
    } else {
      const uint2 a = __ldcg(reinterpret_cast<const uint2*>(p));
      words[0] = a.x, words[1] = a.y;
    }
  }
  __device__ __forceinline__ void Store(T* p) const {
    if constexpr (kWords == 4) {
      *reinterpret_cast<uint4*>(p) = make_uint4(words[0], words[1], words[2], words[3]);
    } else {
      *reinterpret_cast<uint2*>(p) = make_uint2(words[0], words[1]);
    }
  }
  __device__ __forceinline__ void ToFloats(float (&x)[kElems]) const {
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      if constexpr (sizeof(T) == 4) {
        x[i] = __uint_as_float(words[i]);
      } else {
        const float2 pair = Unpack<T>(words[i]);
        x[2 * i] = pair.x;
        x[2 * i + 1] = pair.y;
      }
    }
  }
  __device__ __forceinline__ void FromFloats(const float (&x)[kElems]) {
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      if constexpr (sizeof(T) == 4) {
        words[i] = __float_as_uint(x[i]);
      } else {
        words[i] = Pack<T>(x[2 * i], x[2 * i + 1]);
      }
    }
  }
};

// REQUIRES: p 16-byte aligned.
template <typename T>
__device__ __forceinline__ void LoadVec(const T* p, float (&x)[kVec]) {
  if constexpr (sizeof(T) == 4) {
    const float4 a = reinterpret_cast<const float4*>(p)[0];
    const float4 b = reinterpret_cast<const float4*>(p)[1];
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
    x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
  } else {
    const uint4 a = *reinterpret_cast<const uint4*>(p);
    const float2 f0 = Unpack<T>(a.x), f1 = Unpack<T>(a.y), f2 = Unpack<T>(a.z), f3 = Unpack<T>(a.w);
    x[0] = f0.x, x[1] = f0.y, x[2] = f1.x, x[3] = f1.y;
    x[4] = f2.x, x[5] = f2.y, x[6] = f3.x, x[7] = f3.y;
  }
}

template <typename T>
__device__ __forceinline__ void StoreVec(T* p, const float (&x)[kVec]) {
  if constexpr (sizeof(T) == 4) {
    reinterpret_cast<float4*>(p)[0] = make_float4(x[0], x[1], x[2], x[3]);
    reinterpret_cast<float4*>(p)[1] = make_float4(x[4], x[5], x[6], x[7]);
  } else {
    *reinterpret_cast<uint4*>(p) = make_uint4(Pack<T>(x[0], x[1]), Pack<T>(x[2], x[3]),
                                              Pack<T>(x[4], x[5]), Pack<T>(x[6], x[7]));
  }
}

// Rounds to T and back: the value that a store to T leaves behind.
template <typename T>
__device__ __forceinline__ float Rounded(float x) {
  return ToFloat(FromFloat<T>(x));
}

inline bool Aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace slipstream::kernels
