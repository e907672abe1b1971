// Validation and dispatch of gemm_stream_sm90.
#include "kernels/cuda/gemm/gemm_stream.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/gemm/gemm_stream_variant.h"
#include "kernels/cuda/gemm/tensor_map.h"

namespace slipstream::kernels {

template <typename T>
KernelStatus LaunchGemmStream(const GemmStreamVariant& variant, const GemmStreamLaunch& launch);
extern template KernelStatus LaunchGemmStream<__nv_bfloat16>(const GemmStreamVariant&,
                                                             const GemmStreamLaunch&);
extern template KernelStatus LaunchGemmStream<__half>(const GemmStreamVariant&,
                                                      const GemmStreamLaunch&);

template <typename T>
KernelStatus LaunchGemmEpilogue(const GemmStreamVariant& variant, const GemmStreamLaunch& launch);
extern template KernelStatus LaunchGemmEpilogue<__nv_bfloat16>(const GemmStreamVariant&,
                                                               const GemmStreamLaunch&);
extern template KernelStatus LaunchGemmEpilogue<__half>(const GemmStreamVariant&,
                                                        const GemmStreamLaunch&);

namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
bool Aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

int NumSms() {
  int device = 0, sms = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    return 0;
  }
  return sms;
}

KernelStatus ValidateEpilogue(const GemmStreamWeights& w, const GemmStreamArgs& a) {
  const GemmStreamEpilogue& e = a.epilogue;
  if (e.kind == GemmEpilogueKind::kNone) return KernelStatus::kOk;
  if (a.m > kGemmEpilogueMaxTokens) return KernelStatus::kUnsupported;
  switch (e.kind) {
    case GemmEpilogueKind::kResidualNorm:
      if (!e.residual || !e.norm_weight || !e.partials_out || e.residual_stride < w.n) {
        return KernelStatus::kInvalidArgument;
      }
      return a.y_dtype == w.dtype ? KernelStatus::kOk : KernelStatus::kUnsupported;
    case GemmEpilogueKind::kScale:
      return e.partials_in ? KernelStatus::kOk : KernelStatus::kInvalidArgument;
    default:
      return w.n % 16 == 0 ? KernelStatus::kOk : KernelStatus::kUnsupported;
  }
}

KernelStatus Validate(const GemmStreamWeights& w, const GemmStreamArgs& a, const void* workspace) {
  if (w.n < 1 || w.k < 8 || !a.x || !a.y || !workspace || a.m < 1 || a.x_stride < w.k ||
      a.x_stride % 8 || !Aligned16(a.x) || !Aligned16(workspace) || a.tuning.grid < 0 ||
      a.tuning.stages < 0 || a.tuning.prefetch_stages < 0 || a.tuning.row_blocks < 0 ||
      a.tuning.row_blocks > 2) {
    return KernelStatus::kInvalidArgument;
  }
  const bool gated = a.epilogue.kind == GemmEpilogueKind::kGated;
  if (a.y_stride < (gated ? w.n / 2 : w.n)) return KernelStatus::kInvalidArgument;
  if (a.y_dtype != w.dtype && a.y_dtype != DType::kF32) return KernelStatus::kUnsupported;
  return ValidateEpilogue(w, a);
}

}  // namespace

KernelStatus MakeGemmStreamWeights(const void* w, DType dtype, int64_t n, int64_t k,
                                   int64_t row_stride, GemmStreamWeights* out) {
  if (dtype != DType::kBF16 && dtype != DType::kF16) return KernelStatus::kUnsupported;
  if (!w || !out || n < 1 || k < 8 || k % 8 || row_stride < k || row_stride % 8 || !Aligned16(w) ||
      n > INT32_MAX - 256 || k > INT32_MAX - 64) {
    return KernelStatus::kInvalidArgument;
  }
  out->dtype = dtype;
  out->n = n;
  out->k = k;
  return MakeTileMap({w, dtype, n, k, row_stride, kGemmWeightRows}, &out->map);
}

size_t GemmStreamWorkspaceBytes(int max_m, int num_sms) {
  size_t largest = 0;
  for (int tokens = 8; tokens <= 128; tokens *= 2) {
    const int row_blocks = tokens >= 64 ? 2 : 1;
    const size_t record = size_t{4} * kGemmWeightRows * row_blocks * tokens;
    if (record > largest) largest = record;
    if (tokens >= max_m) break;
  }
  return largest * 2 * num_sms;
}

KernelStatus GemmStreamSm90(const GemmStreamWeights& w, const GemmStreamArgs& args, void* workspace,
                            cudaStream_t stream) {
  const KernelStatus valid = Validate(w, args, workspace);
  if (valid != KernelStatus::kOk) return valid;
  const int num_sms = NumSms();
  // CTAs that share a tile wait for each other, so all of them must be resident at once.
  if (num_sms == 0 || args.tuning.grid > num_sms) return KernelStatus::kInvalidArgument;

  const GemmEpilogueKind kind = args.epilogue.kind;
  const GemmStreamVariant variant = ChooseGemmStreamVariant(
      args.m, w.n, num_sms, kind == GemmEpilogueKind::kResidualNorm ? 1 : args.tuning.row_blocks);
  const int64_t token_tiles = CeilDiv(args.m, variant.tokens);
  const int64_t tiles = CeilDiv(w.n, kGemmWeightRows * variant.row_blocks) * token_tiles;
  const int64_t k_blocks = CeilDiv(w.k, kGemmBlockK);
  if (tiles * k_blocks > INT32_MAX) return KernelStatus::kUnsupported;

  GemmStreamLaunch launch{};
  launch.weights = w.map;
  const KernelStatus mapped =
      MakeTileMap({args.x, w.dtype, args.m, w.k, args.x_stride, variant.tokens}, &launch.tokens);
  if (mapped != KernelStatus::kOk) return mapped;
  GemmStreamParams& p = launch.params;
  p.bias = args.bias;
  p.y = args.y;
  p.records = static_cast<float*>(workspace);
  p.y_stride = args.y_stride;
  p.m = args.m;
  p.n = static_cast<int>(w.n);
  p.k_blocks = static_cast<int>(k_blocks);
  p.token_tiles = static_cast<int>(token_tiles);
  p.units = static_cast<int>(tiles * k_blocks);
  p.prefetch_stages = args.tuning.prefetch_stages;
  p.early_release = args.tuning.early_release;
  p.y_is_f32 = args.y_dtype == DType::kF32;
  p.epilogue = args.epilogue;
  p.partials = static_cast<int>(GemmStreamPartials(w.k));
  p.inverse_columns = 1.0f / static_cast<float>(w.k);
  launch.grid = args.tuning.grid > 0
                    ? args.tuning.grid
                    : ChooseGemmStreamGrid(static_cast<int>(tiles), p.k_blocks, num_sms);
  if (launch.grid > p.units) launch.grid = p.units;
  launch.tuning = args.tuning;
  launch.stream = stream;
  if (kind != GemmEpilogueKind::kNone) {
    return w.dtype == DType::kBF16 ? LaunchGemmEpilogue<__nv_bfloat16>(variant, launch)
                                   : LaunchGemmEpilogue<__half>(variant, launch);
  }
  return w.dtype == DType::kBF16 ? LaunchGemmStream<__nv_bfloat16>(variant, launch)
                                 : LaunchGemmStream<__half>(variant, launch);
}

}  // namespace slipstream::kernels
