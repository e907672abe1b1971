// Settings of the scheduler, the KV cache and the runtime. Each field: unit, default, cost.
// Filled from the command line and --config by tools; const once the engine runs.
#pragma once

#include <cstdint>
#include <string>

namespace slipstream {

struct EngineConfig {
  // Tokens per KV block. Larger: fewer table entries, more waste per sequence. Power of
  // two, 8..128.
  int block_size_tokens = 16;
  // KV blocks in the pool; 0: derived from kv_cache_bytes.
  int64_t num_blocks = 0;
  // Bytes of KV cache when num_blocks is 0; 0: enough for max_num_seqs / 4 full contexts, bounded
  // by a third of free memory.
  int64_t kv_cache_bytes = 0;
  // Sequences in one step.
  int max_num_seqs = 64;
  // Tokens in one step: decodes first, the rest is prefill chunks. Larger: better prompt
  // throughput, longer steps for the decodes that share them.
  int max_batch_tokens = 2048;
  // Prompt tokens in a step that also decodes, as long as no more than 16 times as many wait.
  // Smaller: smoother streams, and prompts that are spread over more steps, whose decodes read
  // the weights with them for nothing; larger: earlier first tokens. 0: what max_batch_tokens
  // leaves. Only with enable_chunked_prefill.
  int mixed_prefill_tokens = 512;
  // Tokens of prompt plus output per sequence; 0: the model's limit.
  int64_t max_model_len = 0;
  // Requests waiting in the queue before new ones are refused with 429.
  int max_queued_requests = 1024;
  // Longest time between two tokens of a stream while prompts are computed beside it, in ms:
  // prompt chunks are sized by what steps took. 0: by max_batch_tokens alone. Smaller: smoother
  // streams, later first tokens. Needs enable_chunked_prefill.
  double max_itl_ms = 0;
  bool enable_prefix_caching = true;
  bool enable_chunked_prefill = true;
  // Seed mixed into requests that bring none.
  uint64_t seed = 0;
};

struct RuntimeConfig {
  int num_threads = 0;            // CPU backend, to the processors there are; 0: one per core
  std::string kv_dtype = "auto";  // auto, f32, bf16, f16; auto: f32 on the CPU, else dtype
  std::string device = "auto";    // cpu, cuda, or auto: a Hopper GPU if there is one
  int cuda_device = 0;            // which GPU
  std::string dtype = "bf16";     // of weights and activations on a GPU: bf16 or f16
  // Switches of the CUDA backend that the ablation tables turn; on is faster.
  bool cuda_graphs = true;       // replay recorded decode steps instead of launching kernels
  bool dependent_launch = true;  // kernels start loading weights while the one before them ends
  // Products of few tokens: ring of weights in half or all of shared memory; early: the kernel
  // after them may start as soon as they have.
  std::string weights_ahead = "auto";  // auto, half, full, half_early, full_early
  // What decode attention asks for of the old KV before its inputs are there: nothing, the ring in
  // shared memory, or the ring and the tiles behind it in L2.
  std::string kv_ahead = "l2";  // none, ring, l2
  bool f32_residual = true;     // residual stream in float32; off: in dtype, a little faster
  bool fused_epilogues = true;  // norms and activations inside products of few tokens
};

}  // namespace slipstream
