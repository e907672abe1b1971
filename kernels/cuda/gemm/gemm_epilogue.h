// What a product may do with its sums beside storing them: the steps between the products of a
// layer, without kernels of their own. Part of the contract of gemm_stream.h; up to 64 tokens.
//
// One layer, where x is the residual stream and `partials` the square sums of its rows:
//
//   qkv      kScale         y = T(s * acc + bias)
//   o        kResidualNorm  x += acc + bias; y = T(x * norm_weight); partials
//   gate_up  kGated         y = T(act(s * gate + bias) * (s * up + bias))
//   down     kResidualNorm  as o, with the norm weight of the next layer or of the end
//   head     kScale         as qkv, to f32
//
// with s = rsqrt(sum of partials / K + eps), K the columns of the product's matrix: RMS norm, whose
// scale commutes with the product. Before the first layer a norm of its own feeds a plain product.
//
// Rounding: the sums are not rounded before they are added to x or activated, and y of
// kResidualNorm is x * norm_weight before the scale: the range of bf16 holds it, that of fp16 only
// while |x * norm_weight| < 65504.
#pragma once

#include <cstdint>

namespace slipstream::kernels {

inline constexpr int kGemmEpilogueMaxTokens = 64;

enum class GemmEpilogueKind : uint8_t { kNone, kResidualNorm, kScale, kGated };

// All pointers are device memory of the caller. What is written by one kernel and read by another
// (residual, partials) is read after the dependency has resolved; norm_weight is constant.
struct GemmStreamEpilogue {
  GemmEpilogueKind kind = GemmEpilogueKind::kNone;

  // kResidualNorm. y is [m, n] in the type of W.
  float* residual = nullptr;  // [m, n], read and written
  int64_t residual_stride = 0;
  const float* norm_weight = nullptr;  // [n]
  float* partials_out = nullptr;       // [GemmStreamPartials(n), m], every element written

  // kScale and kGated. Null, for kGated only: s = 1.
  const float* partials_in = nullptr;  // [GemmStreamPartials(k), m]
  float eps = 0.0f;

  // kGated. y is [m, n / 2]. Rows of W, and bias, by eights: rows 16i to 16i + 7 are the gates of
  // outputs 8i to 8i + 7, rows 16i + 8 to 16i + 15 their ups. n not a multiple of 16: kUnsupported.
  bool gelu_tanh = false;  // else SiLU
};

// Rows of the square sums of a residual stream of `columns` columns: one per 128 of them.
constexpr int64_t GemmStreamPartials(int64_t columns) { return (columns + 127) / 128; }

// Where the rows of output `f` lie in a matrix for kGated: a run of gates, then one of their ups.
inline constexpr int64_t kGemmGateRun = 8;
constexpr int64_t GemmGateRow(int64_t f) {
  return f / kGemmGateRun * 2 * kGemmGateRun + f % kGemmGateRun;
}

}  // namespace slipstream::kernels
