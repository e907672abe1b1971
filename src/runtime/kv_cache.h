// The paged KV memory of one device rank: one allocation, per layer K and then V as
// [num_blocks, num_kv_heads, block_size, head_dim]. Block ids are 0..num_blocks-1; who holds which
// block is the engine's business. Owned by ModelRunner. Create fails when the memory cannot be had.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"

namespace slipstream {

struct KvCacheShape {
  int64_t num_layers = 0;
  int64_t num_blocks = 0;
  int num_kv_heads = 0;
  int block_size = 0;
  int head_dim = 0;
  DType dtype = DType::kF32;

  int64_t elems_per_layer() const {  // of K, or of V
    return num_blocks * num_kv_heads * block_size * head_dim;
  }
  size_t bytes() const {
    return BytesOf(dtype, static_cast<size_t>(2 * num_layers * elems_per_layer()));
  }
};

class KvCache {
 public:
  static Result<KvCache> Create(const KvCacheShape& shape, Backend& backend);

  std::span<const KvLayerView> layers() const { return layers_; }
  const KvCacheShape& shape() const { return shape_; }

 private:
  KvCacheShape shape_;
  std::unique_ptr<Buffer> memory_;
  std::vector<KvLayerView> layers_;
};

}  // namespace slipstream
