#include "tools/options.h"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace slipstream {
namespace {

std::vector<Option> ModelOptionTable(ModelOptions* o) {
  return {
      {"model",
       "load_format",
       "How to read MODEL: a Hugging Face folder, a .gguf file, or random "
       "weights made from its config.json",
       &o->load_format,
       0,
       0,
       {"auto", "safetensors", "gguf", "dummy"}},
      {"model",
       "dummy_dtype",
       "Element type of dummy weights",
       &o->dummy_dtype,
       0,
       0,
       {"f32", "f16", "bf16"}},
  };
}

std::vector<Option> EngineOptionTable(EngineConfig* c) {
  return {
      {"engine", "block_size_tokens", "Tokens in one KV block (8, 16, 32, 64 or 128)",
       &c->block_size_tokens, 8, 128},
      {"engine", "num_blocks", "KV blocks in the pool (0: from kv_cache_bytes)", &c->num_blocks, 0,
       1 << 28},
      {"engine", "kv_cache_bytes", "Bytes of KV cache (0: sized from free memory)",
       &c->kv_cache_bytes, 0, 1e15},
      {"engine", "max_num_seqs", "Sequences in one step", &c->max_num_seqs, 1, 4096},
      {"engine", "max_batch_tokens",
       "Tokens in one step; what decodes leave goes to prefill chunks", &c->max_batch_tokens, 16,
       1 << 20},
      {"engine", "mixed_prefill_tokens",
       "Prompt tokens in a step that also decodes, unless 16 times as many wait (0: what fits)",
       &c->mixed_prefill_tokens, 0, 1 << 20},
      {"engine", "max_model_len", "Tokens of prompt plus output (0: the model's limit)",
       &c->max_model_len, 0, 1 << 24},
      {"engine", "max_itl_ms",
       "Longest gap between tokens of a stream that prompts may cause (0: no limit)",
       &c->max_itl_ms, 0, 1e6},
      {"engine", "max_queued_requests", "Requests waiting before new ones get 429",
       &c->max_queued_requests, 1, 1 << 20},
      {"engine", "enable_prefix_caching", "Reuse KV blocks of equal prompt starts",
       &c->enable_prefix_caching},
      {"engine", "enable_chunked_prefill", "Split long prompts over steps",
       &c->enable_chunked_prefill},
      {"engine", "seed", "Mixed into requests that bring no seed", &c->seed, 0, 1.8e19},
  };
}

std::vector<Option> RuntimeOptionTable(RuntimeConfig* c) {
  return {
      {"runtime", "num_threads",
       "CPU worker threads (0: one per core; at most the processors this process may use)",
       &c->num_threads, 0, static_cast<double>(UsableProcessors())},
      {"runtime",
       "kv_dtype",
       "Element type of the KV cache",
       &c->kv_dtype,
       0,
       0,
       {"auto", "f32", "bf16", "f16"}},
      {"runtime", "device", "Where the model runs", &c->device, 0, 0, {"auto", "cpu", "cuda"}},
      {"runtime", "cuda_device", "Which GPU, by its number in `slipstream devices`",
       &c->cuda_device, 0, 63},
      {"runtime",
       "dtype",
       "Element type of weights and activations on a GPU",
       &c->dtype,
       0,
       0,
       {"bf16", "f16"}},
      {"runtime", "cuda_graphs", "Replay recorded decode steps on a GPU", &c->cuda_graphs},
      {"runtime", "dependent_launch",
       "Let a GPU kernel load its weights while the one before it ends", &c->dependent_launch},
      {"runtime",
       "weights_ahead",
       "How far a GPU's products of few tokens load weights ahead of their inputs",
       &c->weights_ahead,
       0,
       0,
       {"auto", "half", "full", "half_early", "full_early"}},
      {"runtime",
       "kv_ahead",
       "What a GPU's decode attention loads of the KV cache before its inputs are there",
       &c->kv_ahead,
       0,
       0,
       {"none", "ring", "l2"}},
      {"runtime", "f32_residual", "Keep the residual stream in float32 on a GPU", &c->f32_residual},
      {"runtime", "fused_epilogues",
       "Do norms and activations inside a GPU's products of few tokens", &c->fused_epilogues},
  };
}

}  // namespace

int UsableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  // More processors than the set has room for.
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

void AppendModelRunOptions(std::vector<Option>* options, ModelOptions* model, EngineConfig* engine,
                           RuntimeConfig* runtime) {
  for (auto table :
       {ModelOptionTable(model), EngineOptionTable(engine), RuntimeOptionTable(runtime)}) {
    for (Option& o : table) options->push_back(std::move(o));
  }
}

LoadOptions ToLoadOptions(const ModelOptions& o) {
  LoadOptions load;
  if (o.load_format == "safetensors") load.format = LoadFormat::kSafetensors;
  if (o.load_format == "gguf") load.format = LoadFormat::kGguf;
  if (o.load_format == "dummy") load.format = LoadFormat::kDummy;
  load.dummy_dtype = o.dummy_dtype == "f32"   ? DType::kF32
                     : o.dummy_dtype == "f16" ? DType::kF16
                                              : DType::kBF16;
  return load;
}

}  // namespace slipstream
