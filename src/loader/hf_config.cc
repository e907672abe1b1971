#include "loader/hf_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "loader/config_check.h"
#include "loader/hf_rope.h"
#include "loader/json_reader.h"
#include "loader/one_line.h"

namespace slipstream {
namespace {

// What transformers assumes for keys that config.json leaves out. A size of 0: required.
struct Family {
  const char* architecture;  // in "architectures"
  const char* model_type;    // used when "architectures" is absent
  const char* name;          // ModelConfig::architecture
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_layers = 0, num_heads = 0;
  int64_t num_kv_heads = 0;  // 0: num_heads
  int64_t head_dim = 0;      // 0: hidden_size / num_heads
  int64_t max_position = 2048;
  bool tied = false;
  int64_t window = 0;
  int64_t window_period = 0;  // every n-th layer sees everything; 0: the window is everywhere
  double attn_softcap = 0, final_softcap = 0;
};

constexpr Family Gemma3(const char* architecture, const char* model_type) {
  return {architecture, model_type, "gemma3", 262208, 2304, 9216, 26, 8, 4,
          256,          131072,     true,     4096,   6};
}

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", "llama"},
    {.architecture = "MistralForCausalLM",
     .model_type = "mistral",
     .name = "mistral",
     .num_kv_heads = 8,
     .max_position = 131072,
     .window = 4096},
    {.architecture = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .name = "qwen2",
     .num_kv_heads = 32,
     .max_position = 32768,
     .window = 4096},
    {.architecture = "Qwen3ForCausalLM",
     .model_type = "qwen3",
     .name = "qwen3",
     .num_kv_heads = 32,
     .head_dim = 128,
     .max_position = 32768,
     .window = 4096},
    {"Gemma2ForCausalLM", "gemma2", "gemma2", 256000, 2304, 9216, 26, 8, 4, 256, 8192, true, 4096,
     2, 50.0, 30.0},
    Gemma3("Gemma3ForCausalLM", "gemma3_text"),
    Gemma3("Gemma3ForConditionalGeneration", "gemma3"),
};

Result<const Family*> FindFamily(const JsonReader& json) {
  std::string architecture;
  if (const Json* list = json.Find("architectures"); list != nullptr) {
    if (!list->is_array() || list->empty() || !list->front().is_string()) {
      return json.Wrong("architectures", "a list with the name of a model class");
    }
    architecture = list->front().get<std::string>();
  }
  SLIP_ASSIGN_OR_RETURN(const std::string type, json.String("model_type", ""));
  for (const Family& f : kFamilies) {
    if (architecture.empty() ? type == f.model_type : architecture == f.architecture) return &f;
  }
  return Fail(ErrorCode::kUnimplemented,
              fmt::format("{}: unknown architecture '{}' (supported: {})", json.file(),
                          architecture.empty() ? type : architecture, kSupportedArchitectures));
}

class ConfigReader {
 public:
  ConfigReader(const JsonReader& json, const Family& family) : json_(json), family_(family) {
    c_.architecture = family.name;
  }

  Result<ModelConfig> Run() {
    SLIP_RETURN_IF_ERROR(ReadSizes());
    SLIP_RETURN_IF_ERROR(ReadFlags());
    if (is_gemma()) SLIP_RETURN_IF_ERROR(ReadGemma());
    SLIP_RETURN_IF_ERROR(ReadWindow());
    SLIP_RETURN_IF_ERROR(ReadHfRope(json_, &c_));
    return std::move(c_);
  }

 private:
  bool is_gemma() const { return c_.architecture.starts_with("gemma"); }
  bool is_qwen() const { return c_.architecture.starts_with("qwen"); }

  Result<int64_t> Size(std::string_view key, int64_t fallback) const {
    return json_.Int(key, fallback > 0 ? std::optional<int64_t>(fallback) : std::nullopt);
  }

  Status ReadSizes() {
    SLIP_ASSIGN_OR_RETURN(c_.vocab_size, Size("vocab_size", family_.vocab_size));
    SLIP_ASSIGN_OR_RETURN(c_.hidden_size, Size("hidden_size", family_.hidden_size));
    SLIP_ASSIGN_OR_RETURN(c_.intermediate_size,
                          Size("intermediate_size", family_.intermediate_size));
    SLIP_ASSIGN_OR_RETURN(c_.num_layers, Size("num_hidden_layers", family_.num_layers));
    SLIP_ASSIGN_OR_RETURN(c_.num_heads, Size("num_attention_heads", family_.num_heads));
    SLIP_ASSIGN_OR_RETURN(
        c_.num_kv_heads, json_.Int("num_key_value_heads",
                                   family_.num_kv_heads > 0 ? family_.num_kv_heads : c_.num_heads));
    const int64_t split = c_.num_heads > 0 ? c_.hidden_size / c_.num_heads : 0;
    SLIP_ASSIGN_OR_RETURN(c_.head_dim,
                          json_.Int("head_dim", family_.head_dim > 0 ? family_.head_dim : split));
    SLIP_ASSIGN_OR_RETURN(c_.max_position_embeddings,
                          json_.Int("max_position_embeddings", family_.max_position));
    SLIP_ASSIGN_OR_RETURN(const double eps, json_.Float("rms_norm_eps", 1e-6));
    c_.rms_norm_eps = static_cast<float>(eps);
    return {};
  }

  Status ReadFlags() {
    SLIP_ASSIGN_OR_RETURN(c_.tie_word_embeddings, json_.Bool("tie_word_embeddings", family_.tied));
    SLIP_ASSIGN_OR_RETURN(const std::string act,
                          json_.String("hidden_act", is_gemma() ? "gelu_pytorch_tanh" : "silu"));
    // Gemma has a second spelling that wins; "gelu" there always meant the tanh form.
    SLIP_ASSIGN_OR_RETURN(c_.hidden_act,
                          is_gemma() ? json_.String("hidden_activation", "gelu_pytorch_tanh")
                                     : Result<std::string>(act));
    SLIP_ASSIGN_OR_RETURN(const bool bias, json_.Bool("attention_bias", false));
    c_.attention_bias = c_.architecture == "qwen2" || bias;
    SLIP_ASSIGN_OR_RETURN(c_.mlp_bias, json_.Bool("mlp_bias", false));
    if (json_.Has("quantization_config")) return Unsupported("quantization_config");
    SLIP_ASSIGN_OR_RETURN(const double rotated, json_.Float("partial_rotary_factor", 1.0));
    if (rotated != 1.0) return Unsupported("partial_rotary_factor");
    return {};
  }

  Status ReadGemma() {
    c_.norm_weight_plus_one = true;
    SLIP_ASSIGN_OR_RETURN(c_.query_pre_attn_scalar, json_.Float("query_pre_attn_scalar", 256.0));
    SLIP_ASSIGN_OR_RETURN(c_.attn_logit_softcap,
                          SoftCap("attn_logit_softcapping", family_.attn_softcap));
    SLIP_ASSIGN_OR_RETURN(c_.final_logit_softcap,
                          SoftCap("final_logit_softcapping", family_.final_softcap));
    SLIP_ASSIGN_OR_RETURN(const bool both_ways, json_.Bool("use_bidirectional_attention", false));
    if (both_ways) return Unsupported("use_bidirectional_attention");
    return {};
  }

  // Null turns the cap off; absence means the family's value.
  Result<double> SoftCap(std::string_view key, double fallback) const {
    return json_.Float(key, json_.IsNull(key) ? 0.0 : fallback);
  }

  Status ReadWindow() {
    if (family_.window == 0) return {};
    SLIP_ASSIGN_OR_RETURN(
        c_.sliding_window,
        json_.Int("sliding_window", json_.IsNull("sliding_window") ? 0 : family_.window));
    if (is_qwen()) {
      SLIP_ASSIGN_OR_RETURN(const bool used, json_.Bool("use_sliding_window", false));
      if (!used) c_.sliding_window = 0;
    }
    // CheckModelConfig refuses such a number of layers with better words.
    if (c_.sliding_window == 0 || c_.num_layers < 1 || c_.num_layers > 1024) return {};
    if (const Json* types = json_.Find("layer_types"); types != nullptr) return ReadTypes(*types);
    if (is_qwen()) {
      SLIP_ASSIGN_OR_RETURN(const int64_t first, json_.Int("max_window_layers", 28));
      for (int64_t i = 0; i < c_.num_layers; ++i) c_.layer_uses_window.push_back(i >= first);
    } else if (family_.window_period > 0) {
      SLIP_ASSIGN_OR_RETURN(const int64_t old_key,
                            json_.Int("_sliding_window_pattern", family_.window_period));
      SLIP_ASSIGN_OR_RETURN(const int64_t period, json_.Int("sliding_window_pattern", old_key));
      if (period < 1) return json_.Wrong("sliding_window_pattern", "at least 1");
      for (int64_t i = 0; i < c_.num_layers; ++i) {
        c_.layer_uses_window.push_back((i + 1) % period != 0);
      }
    }
    return {};
  }

  Status ReadTypes(const Json& types) {
    if (!types.is_array()) return json_.Wrong("layer_types", "a list");
    for (const Json& type : types) {
      const bool window = type == "sliding_attention";
      if (!window && type != "full_attention") {
        return json_.Wrong("layer_types", "'full_attention' or 'sliding_attention' per layer");
      }
      c_.layer_uses_window.push_back(window);
    }
    return {};
  }

  tl::unexpected<Error> Unsupported(std::string_view key) const {
    return Fail(ErrorCode::kUnimplemented,
                fmt::format("{}: '{}' is not supported", json_.file(), key));
  }

  const JsonReader& json_;
  const Family& family_;
  ModelConfig c_;
};

// An id or a list of ids.
Result<std::vector<int32_t>> TokenIds(const JsonReader& json, std::string_view key) {
  std::vector<int32_t> out;
  const Json* value = json.Find(key);
  if (value == nullptr) return out;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) {
      return json.Wrong(key, "a token id or a list of token ids");
    }
    out.push_back(id.get<int32_t>());
  }
  return out;
}

Status AddTokenIds(const JsonReader& json, ModelConfig* config) {
  SLIP_ASSIGN_OR_RETURN(const std::vector<int32_t> eos, TokenIds(json, "eos_token_id"));
  for (const int32_t id : eos) {
    auto& ids = config->eos_token_ids;
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  SLIP_ASSIGN_OR_RETURN(const std::vector<int32_t> bos, TokenIds(json, "bos_token_id"));
  if (!bos.empty() && !config->bos_token_id) config->bos_token_id = bos.front();
  return {};
}

// Sentence-transformers' description of what makes an embedding, if the folder has one. Kinds that
// a decoder has no use for (cls, max) say nothing.
Status ReadPooling(const std::filesystem::path& folder, ModelConfig* config) {
  const std::string path = (folder / "1_Pooling" / "config.json").string();
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  SLIP_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
  const JsonReader reader(json, path);
  SLIP_ASSIGN_OR_RETURN(const bool last, reader.Bool("pooling_mode_lasttoken", false));
  SLIP_ASSIGN_OR_RETURN(const bool mean, reader.Bool("pooling_mode_mean_tokens", false));
  if (last != mean) config->pooling = last ? "last" : "mean";
  return {};
}

Result<ModelConfig> ReadDocument(const std::string& path) {
  SLIP_ASSIGN_OR_RETURN(const Json document, ReadJsonFile(path));
  const JsonReader top(document, path);
  SLIP_ASSIGN_OR_RETURN(const Family* family, FindFamily(top));
  SLIP_ASSIGN_OR_RETURN(const std::optional<JsonReader> text, top.Object("text_config"));
  SLIP_ASSIGN_OR_RETURN(ModelConfig config, ConfigReader(text ? *text : top, *family).Run());
  SLIP_ASSIGN_OR_RETURN(config.name, top.String("_name_or_path", ""));
  SLIP_RETURN_IF_ERROR(AddTokenIds(top, &config));
  if (text) SLIP_RETURN_IF_ERROR(AddTokenIds(*text, &config));
  const auto generation = std::filesystem::path(path).parent_path() / "generation_config.json";
  std::error_code ignored;  // a file that cannot be looked at is as good as none
  if (std::filesystem::exists(generation, ignored)) {
    SLIP_ASSIGN_OR_RETURN(const Json extra, ReadJsonFile(generation.string()));
    SLIP_RETURN_IF_ERROR(AddTokenIds(JsonReader(extra, generation.string()), &config));
  }
  SLIP_RETURN_IF_ERROR(ReadPooling(std::filesystem::path(path).parent_path(), &config));
  SLIP_RETURN_IF_ERROR(CheckModelConfig(config, path));
  return config;
}

}  // namespace

Result<ModelConfig> ReadHfConfig(const std::string& path) {
  return ReadDocument(path).map_error(OneLine);
}

}  // namespace slipstream
