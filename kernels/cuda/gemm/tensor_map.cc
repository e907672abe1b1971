#include "kernels/cuda/gemm/tensor_map.h"

#include <cuda_runtime_api.h>

namespace slipstream::kernels {
namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                            CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                            CUtensorMapFloatOOBfill);

Encode FindEncoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                             12000, cudaEnableDefault, &found);
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<Encode>(function);
}

}  // namespace

KernelStatus MakeTileMap(const TileMapSpec& spec, CUtensorMap* map) {
  static const Encode encode = FindEncoder();
  if (!encode) return KernelStatus::kUnsupported;
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(spec.columns),
                               static_cast<cuuint64_t>(spec.rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(spec.row_stride) * 2};
  const cuuint32_t tile[2] = {64, static_cast<cuuint32_t>(spec.tile_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUtensorMapDataType type = spec.dtype == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                              : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  // 256-byte promotion: the neighbouring 64 columns of a row are read next, so one DRAM burst
  // serves two tiles.
  const CUresult result =
      encode(map, type, 2, const_cast<void*>(spec.data), sizes, strides, tile, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? KernelStatus::kOk : KernelStatus::kInvalidArgument;
}

}  // namespace slipstream::kernels
