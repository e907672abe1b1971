// Hyperparameters of a decoder model, neutral to the file they came from (config.json or GGUF
// metadata). Filled and range-checked by the loader; const afterwards. Plain value, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace slipstream {

enum class RopeScalingKind : uint8_t { kNone, kLinear, kLlama3, kYarn };

// Frequencies of rotary embeddings. Formulas: Hugging Face modeling_rope_utils (linear, llama3,
// yarn; YaRN is arXiv 2309.00071).
struct RopeConfig {
  double theta = 10000.0;
  RopeScalingKind scaling = RopeScalingKind::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;              // llama3
  double high_freq_factor = 4.0;             // llama3
  int64_t original_max_position = 0;         // llama3, yarn; 0: max_position_embeddings
  double beta_fast = 32.0, beta_slow = 1.0;  // yarn
  std::optional<double> attention_factor;    // yarn; unset: 0.1 ln(factor) + 1
  bool truncate = true;                      // yarn: floor and ceil the correction range
  std::vector<float> freq_factors;           // GGUF rope_freqs.weight: divides each frequency
};

struct ModelConfig {
  std::string architecture;  // llama, mistral, qwen2, qwen3, gemma2, gemma3
  std::string name;          // for people; may be empty
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;  // tokens
  float rms_norm_eps = 1e-6f;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  std::string hidden_act = "silu";  // silu, gelu_pytorch_tanh
  RopeConfig rope;
  std::optional<double> rope_local_theta;  // gemma3: theta of sliding-window layers, unscaled
  bool rope_interleaved = false;           // weights permuted for neighbouring pairs (GGUF llama)
  int64_t sliding_window = 0;              // tokens; 0: none
  std::vector<bool> layer_uses_window;     // per layer; empty: all layers if sliding_window > 0
  double query_pre_attn_scalar = 0.0;      // gemma: scale = 1 / sqrt(this); 0: head_dim
  double attn_logit_softcap = 0.0;         // gemma2; 0: none
  double final_logit_softcap = 0.0;        // gemma2; 0: none
  std::string pooling;                     // of embeddings: last, mean; empty: the files name none
  bool norm_weight_plus_one = false;       // gemma safetensors: weight is stored minus one
  std::vector<int32_t> eos_token_ids;
  std::optional<int32_t> bos_token_id;
};

}  // namespace slipstream
