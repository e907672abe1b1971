#include "kernels/cpu/attention_units.h"

namespace slipstream::kernels {

size_t AttentionPartialBytes(const CpuAttentionParams& p) {
  int64_t rows = 0;
  for (int s = 0; s < p.num_seqs; ++s) {
    const int64_t queries = p.query_start[s + 1] - p.query_start[s];
    int64_t first = 0, count = 0;
    if (queries > 0) PartitionsOf(p, s, &first, &count);
    if (queries <= kSplitMaxQueries && count > 1) rows += queries * p.num_heads * count;
  }
  return static_cast<size_t>(rows * (PaddedHeadDim(p.kv.head_dim) + 16)) * sizeof(float);
}

size_t AttentionScratchBytes(const CpuAttentionParams& p) {
  const int64_t pad = PaddedHeadDim(p.kv.head_dim);
  constexpr int64_t kTileKeys = 64, kTileRows = 8;
  const int64_t floats = (3 * kUnitRows + 2 * kTileKeys) * pad + kTileRows * kTileKeys +
                         4 * kUnitRows + 2 * 2 * kUnitRows;
  return static_cast<size_t>((floats + 15) / 16 * 16) * sizeof(float);
}

}  // namespace slipstream::kernels
