#include "runtime/kv_cache.h"

#include <string>
#include <utility>

namespace slipstream {

Result<KvCache> KvCache::Create(const KvCacheShape& shape, Backend& backend) {
  KvCache cache;
  cache.shape_ = shape;
  auto memory = backend.Allocate(shape.bytes());
  if (!memory) {
    return tl::unexpected(
        std::move(memory).error().With("KV cache of " + std::to_string(shape.num_blocks) +
                                       " blocks, " + std::to_string(shape.bytes()) + " bytes"));
  }
  cache.memory_ = std::move(*memory);
  auto* base = static_cast<std::byte*>(cache.memory_->data());
  const size_t half = BytesOf(shape.dtype, static_cast<size_t>(shape.elems_per_layer()));
  const int64_t head_stride = static_cast<int64_t>(shape.block_size) * shape.head_dim;
  for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
    KvLayerView view;
    view.k = base + 2 * layer * half;
    view.v = base + (2 * layer + 1) * half;
    view.dtype = shape.dtype;
    view.block_stride = head_stride * shape.num_kv_heads;
    view.head_stride = head_stride;
    view.block_size = shape.block_size;
    view.num_kv_heads = shape.num_kv_heads;
    view.head_dim = shape.head_dim;
    cache.layers_.push_back(view);
  }
  return cache;
}

}  // namespace slipstream
