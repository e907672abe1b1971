#include "runtime/memory_budget.h"

#include <algorithm>
#include <bit>
#include <string>

namespace slipstream {
namespace {

Error TooLong(const EngineConfig& engine, const KvBudget& budget, const KvDemand& demand,
              int64_t blocks_per_sequence) {
  const int64_t fits = budget.num_blocks * engine.block_size_tokens;
  if (engine.num_blocks > 0) {
    return Error{ErrorCode::kResourceExhausted,
                 "one sequence of " + std::to_string(budget.max_model_len) + " tokens needs " +
                     std::to_string(blocks_per_sequence) + " KV blocks, but num_blocks is " +
                     std::to_string(engine.num_blocks) + " (" + std::to_string(fits) +
                     " tokens); lower max_model_len or raise num_blocks",
                 "num_blocks"};
  }
  return Error{ErrorCode::kResourceExhausted,
               "one sequence of " + std::to_string(budget.max_model_len) + " tokens needs " +
                   std::to_string(budget.max_model_len * demand.bytes_per_token) +
                   " bytes of KV cache, but only " + std::to_string(budget.kv_cache_bytes) +
                   " bytes (" + std::to_string(fits) +
                   " tokens) are given; lower max_model_len or raise kv_cache_bytes",
               "max_model_len"};
}

}  // namespace

Result<KvBudget> PlanKvBudget(const EngineConfig& engine, const KvDemand& demand) {
  const int64_t block_size = engine.block_size_tokens;
  if (block_size < 8 || block_size > 128 ||
      !std::has_single_bit(static_cast<uint64_t>(block_size))) {
    return InvalidArgument("block_size_tokens must be a power of two between 8 and 128, not " +
                               std::to_string(block_size),
                           "block_size_tokens");
  }
  if (engine.max_model_len < 0 || engine.max_model_len > demand.model_limit) {
    return InvalidArgument("max_model_len must be between 0 and the model's limit of " +
                               std::to_string(demand.model_limit) + " tokens, not " +
                               std::to_string(engine.max_model_len),
                           "max_model_len");
  }
  KvBudget out;
  out.max_model_len = engine.max_model_len > 0 ? engine.max_model_len : demand.model_limit;
  const int64_t block_bytes = block_size * demand.bytes_per_token;
  const int64_t blocks_per_sequence = (out.max_model_len + block_size - 1) / block_size;
  if (engine.num_blocks > 0) {
    out.num_blocks = engine.num_blocks;
  } else if (engine.kv_cache_bytes > 0) {
    out.num_blocks = engine.kv_cache_bytes / block_bytes;
  } else if (demand.takes_all) {
    out.num_blocks = demand.free_bytes / block_bytes;
  } else {
    const int64_t contexts = std::max(1, engine.max_num_seqs / 4);
    out.num_blocks = std::min(contexts * blocks_per_sequence, demand.free_bytes / 3 / block_bytes);
  }
  if (out.num_blocks > demand.free_bytes / block_bytes) {
    return Fail(ErrorCode::kResourceExhausted,
                "a KV cache of " + std::to_string(out.num_blocks) + " blocks of " +
                    std::to_string(block_bytes) + " bytes does not fit in " +
                    std::to_string(demand.free_bytes) + " bytes of free memory",
                engine.num_blocks > 0 ? "num_blocks" : "kv_cache_bytes");
  }
  out.kv_cache_bytes = out.num_blocks * block_bytes;
  if (out.num_blocks < blocks_per_sequence) {
    return tl::unexpected(TooLong(engine, out, demand, blocks_per_sequence));
  }
  return out;
}

}  // namespace slipstream
