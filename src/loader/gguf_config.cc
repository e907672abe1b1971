#include "loader/gguf_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "loader/config_check.h"

namespace slipstream {
namespace {

bool IsGemma(std::string_view arch) { return arch == "gemma2" || arch == "gemma3"; }

// Reads the keys of one architecture, "llama.block_count" and so on.
class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, std::string_view arch) : file_(file), arch_(arch) {
    c_.architecture = arch;
  }

  Result<ModelConfig> Run() {
    SLIP_RETURN_IF_ERROR(ReadSizes());
    SLIP_RETURN_IF_ERROR(ReadRope());
    SLIP_RETURN_IF_ERROR(ReadWindow());
    if (IsGemma(arch_)) SLIP_RETURN_IF_ERROR(ReadGemma());
    SLIP_RETURN_IF_ERROR(ReadSpecialTokens());
    c_.tie_word_embeddings = file_.FindTensor("output.weight") == nullptr;
    c_.attention_bias = file_.FindTensor("blk.0.attn_q.bias") != nullptr;
    c_.mlp_bias = file_.FindTensor("blk.0.ffn_up.bias") != nullptr;
    SLIP_RETURN_IF_ERROR(CheckModelConfig(c_, file_.path()));
    return std::move(c_);
  }

 private:
  std::string Key(std::string_view name) const { return fmt::format("{}.{}", arch_, name); }

  // A number, or an array of one number per layer that must all be the same.
  Result<int64_t> PerLayerInt(std::string_view name, int64_t fallback) const {
    const std::string key = Key(name);
    const GgufValue* value = file_.Find(key);
    if (value == nullptr || value->type != GgufType::kArray) return file_.IntOr(key, fallback);
    SLIP_ASSIGN_OR_RETURN(const std::vector<int64_t> values, file_.Ints(key));
    if (values.empty() ||
        std::any_of(values.begin(), values.end(), [&](int64_t v) { return v != values.front(); })) {
      return Fail(ErrorCode::kUnimplemented,
                  fmt::format("{}: '{}' differs between layers, which is not supported",
                              file_.path(), key));
    }
    return values.front();
  }

  Status ReadSizes() {
    SLIP_ASSIGN_OR_RETURN(const std::string_view name, file_.StringOr("general.name", ""));
    c_.name = name;
    SLIP_ASSIGN_OR_RETURN(c_.num_layers, file_.Int(Key("block_count")));
    SLIP_ASSIGN_OR_RETURN(c_.hidden_size, file_.Int(Key("embedding_length")));
    SLIP_ASSIGN_OR_RETURN(c_.intermediate_size, PerLayerInt("feed_forward_length", 0));
    SLIP_ASSIGN_OR_RETURN(c_.num_heads, PerLayerInt("attention.head_count", 0));
    SLIP_ASSIGN_OR_RETURN(c_.num_kv_heads, PerLayerInt("attention.head_count_kv", c_.num_heads));
    SLIP_ASSIGN_OR_RETURN(c_.max_position_embeddings, file_.Int(Key("context_length")));
    SLIP_ASSIGN_OR_RETURN(const double eps, file_.Float(Key("attention.layer_norm_rms_epsilon")));
    c_.rms_norm_eps = static_cast<float>(eps);
    const int64_t split = c_.num_heads > 0 ? c_.hidden_size / c_.num_heads : 0;
    SLIP_ASSIGN_OR_RETURN(c_.head_dim, file_.IntOr(Key("attention.key_length"), split));
    SLIP_ASSIGN_OR_RETURN(const int64_t value_dim,
                          file_.IntOr(Key("attention.value_length"), c_.head_dim));
    if (value_dim != c_.head_dim) {
      return Unsupported(
          fmt::format("value heads of {} beside key heads of {}", value_dim, c_.head_dim));
    }
    SLIP_ASSIGN_OR_RETURN(const int64_t experts, file_.IntOr(Key("expert_count"), 0));
    if (experts > 0) return Unsupported(fmt::format("a mixture of {} experts", experts));
    // 1: mean, 3: last token; others mean nothing to a decoder.
    SLIP_ASSIGN_OR_RETURN(const int64_t pooling, file_.IntOr(Key("pooling_type"), 0));
    if (pooling == 1 || pooling == 3) c_.pooling = pooling == 1 ? "mean" : "last";
    const GgufTensor* embedding = file_.FindTensor("token_embd.weight");
    if (embedding == nullptr || embedding->shape.size() != 2) {
      return DataLoss(
          fmt::format("{}: tensor 'token_embd.weight' is missing or not a matrix", file_.path()));
    }
    c_.vocab_size = embedding->shape[0];
    return {};
  }

  Status ReadRope() {
    RopeConfig& r = c_.rope;
    // The converter permutes q and k of this family for neighbouring pairs.
    c_.rope_interleaved = arch_ == "llama";
    SLIP_ASSIGN_OR_RETURN(r.theta, file_.FloatOr(Key("rope.freq_base"), 10000.0));
    SLIP_ASSIGN_OR_RETURN(const int64_t dims,
                          file_.IntOr(Key("rope.dimension_count"), c_.head_dim));
    if (dims != c_.head_dim) {
      return Unsupported(fmt::format("rotation of {} of {} head dimensions", dims, c_.head_dim));
    }
    SLIP_ASSIGN_OR_RETURN(const double linear, file_.FloatOr(Key("rope.scale_linear"), 1.0));
    SLIP_ASSIGN_OR_RETURN(r.factor, file_.FloatOr(Key("rope.scaling.factor"), linear));
    const bool scaled = r.factor != 1.0;
    SLIP_ASSIGN_OR_RETURN(const std::string_view kind,
                          file_.StringOr(Key("rope.scaling.type"), scaled ? "linear" : "none"));
    SLIP_ASSIGN_OR_RETURN(r.original_max_position,
                          file_.IntOr(Key("rope.scaling.original_context_length"), 0));
    if (kind == "linear") {
      r.scaling = RopeScalingKind::kLinear;
    } else if (kind == "yarn") {
      SLIP_RETURN_IF_ERROR(ReadYarn());
    } else if (kind != "none") {
      return Unsupported(fmt::format("rope scaling '{}'", kind));
    }
    return ReadFreqFactors();
  }

  Status ReadYarn() {
    RopeConfig& r = c_.rope;
    r.scaling = RopeScalingKind::kYarn;
    SLIP_ASSIGN_OR_RETURN(r.beta_fast, file_.FloatOr(Key("rope.scaling.yarn_beta_fast"), 32.0));
    SLIP_ASSIGN_OR_RETURN(r.beta_slow, file_.FloatOr(Key("rope.scaling.yarn_beta_slow"), 1.0));
    if (file_.Has(Key("rope.scaling.attn_factor"))) {
      // In GGUF this multiplies the usual factor instead of replacing it.
      SLIP_ASSIGN_OR_RETURN(const double scale, file_.Float(Key("rope.scaling.attn_factor")));
      r.attention_factor = scale * (0.1 * std::log(r.factor) + 1.0);
    }
    return {};
  }

  Status ReadFreqFactors() {
    const GgufTensor* t = file_.FindTensor("rope_freqs.weight");
    if (t == nullptr) return {};
    if (t->dtype != DType::kF32 || !t->foreign_type.empty()) {
      return DataLoss(fmt::format("{}: tensor 'rope_freqs.weight' is {}, wanted F32", file_.path(),
                                  t->foreign_type.empty() ? NameOf(t->dtype) : t->foreign_type));
    }
    c_.rope.freq_factors.resize(t->bytes / sizeof(float));
    std::memcpy(c_.rope.freq_factors.data(), t->data, t->bytes);
    return {};
  }

  Status ReadWindow() {
    if (arch_ != "llama" && !IsGemma(arch_)) return {};
    SLIP_ASSIGN_OR_RETURN(c_.sliding_window, file_.IntOr(Key("attention.sliding_window"), 0));
    if (c_.sliding_window == 0 || !IsGemma(arch_)) return {};
    if (c_.num_layers < 1 || c_.num_layers > 1024) return {};  // CheckModelConfig says so
    const std::string key = Key("attention.sliding_window_pattern");
    const GgufValue* value = file_.Find(key);
    if (value != nullptr && value->type == GgufType::kArray) {
      SLIP_ASSIGN_OR_RETURN(const std::vector<int64_t> flags, file_.Ints(key));
      for (const int64_t f : flags) c_.layer_uses_window.push_back(f != 0);
      return {};
    }
    // Every n-th layer sees everything: the second of Gemma 2, the sixth of Gemma 3.
    SLIP_ASSIGN_OR_RETURN(const int64_t period, file_.IntOr(key, arch_ == "gemma2" ? 2 : 6));
    if (period < 1)
      return InvalidArgument(fmt::format("{}: '{}' is {}", file_.path(), key, period));
    for (int64_t i = 0; i < c_.num_layers; ++i) {
      c_.layer_uses_window.push_back((i + 1) % period != 0);
    }
    return {};
  }

  Status ReadGemma() {
    c_.hidden_act = "gelu_pytorch_tanh";
    c_.norm_weight_plus_one = false;  // the converter added the one
    const bool v2 = arch_ == "gemma2";
    SLIP_ASSIGN_OR_RETURN(c_.attn_logit_softcap,
                          file_.FloatOr(Key("attn_logit_softcapping"), v2 ? 50.0 : 0.0));
    SLIP_ASSIGN_OR_RETURN(c_.final_logit_softcap,
                          file_.FloatOr(Key("final_logit_softcapping"), v2 ? 30.0 : 0.0));
    // GGUF has no key for the query scale; only the 27B models, known by depth, differ from
    // head_dim.
    const bool is_27b = c_.num_layers == (v2 ? 46 : 62);
    c_.query_pre_attn_scalar = static_cast<double>(
        is_27b && c_.num_heads > 0 ? c_.hidden_size / c_.num_heads : c_.head_dim);
    if (!v2) {
      SLIP_ASSIGN_OR_RETURN(c_.rope_local_theta, file_.FloatOr(Key("rope.freq_base_swa"), 10000.0));
    }
    return {};
  }

  Status ReadSpecialTokens() {
    SLIP_RETURN_IF_ERROR(
        AddTokenId("tokenizer.ggml.bos_token_id", [&](int32_t id) { c_.bos_token_id = id; }));
    const auto add_eos = [&](int32_t id) {
      auto& ids = c_.eos_token_ids;
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    };
    for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                            "tokenizer.ggml.eom_token_id"}) {
      SLIP_RETURN_IF_ERROR(AddTokenId(key, add_eos));
    }
    return AddTurnEnds(add_eos);
  }

  template <typename F>
  Status AddTokenId(const char* key, F add) {
    if (!file_.Has(key)) return {};
    SLIP_ASSIGN_OR_RETURN(const int64_t id, file_.Int(key));
    // Converters write 0xffffffff for "none".
    if (id == std::numeric_limits<uint32_t>::max()) return {};
    if (id < 0 || id >= c_.vocab_size) {
      return InvalidArgument(fmt::format("{}: '{}' is {}, the vocabulary has {} tokens",
                                         file_.path(), key, id, c_.vocab_size));
    }
    add(static_cast<int32_t>(id));
    return {};
  }

  // Chat models end a turn with a token that many files do not list as their end: find it by text.
  template <typename F>
  Status AddTurnEnds(F add) {
    constexpr const char* kTokens = "tokenizer.ggml.tokens";
    constexpr const char* kTypes = "tokenizer.ggml.token_type";
    if (!file_.Has(kTokens) || !file_.Has(kTypes)) return {};
    SLIP_ASSIGN_OR_RETURN(const auto tokens, file_.Strings(kTokens));
    SLIP_ASSIGN_OR_RETURN(const auto types, file_.Ints(kTypes));
    constexpr int64_t kControl = 3, kUserDefined = 4;
    constexpr std::string_view kTurnEnds[] = {"<|eot_id|>",     "<|im_end|>",    "<|end|>",
                                              "<end_of_turn>",  "<|endoftext|>", "<|eom_id|>",
                                              "<|end_of_text|>"};
    for (size_t i = 0; i < std::min(tokens.size(), types.size()); ++i) {
      if (types[i] != kControl && types[i] != kUserDefined) continue;
      const bool ends =
          std::find(std::begin(kTurnEnds), std::end(kTurnEnds), tokens[i]) != std::end(kTurnEnds);
      if (ends && static_cast<int64_t>(i) < c_.vocab_size) add(static_cast<int32_t>(i));
    }
    return {};
  }

  tl::unexpected<Error> Unsupported(const std::string& what) const {
    return Fail(ErrorCode::kUnimplemented,
                fmt::format("{}: {} is not supported", file_.path(), what));
  }

  const GgufFile& file_;
  std::string_view arch_;
  ModelConfig c_;
};

}  // namespace

Result<ModelConfig> GgufModelConfig(const GgufFile& file) {
  SLIP_ASSIGN_OR_RETURN(const std::string_view arch, file.String("general.architecture"));
  constexpr std::string_view kKnown[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3"};
  if (std::find(std::begin(kKnown), std::end(kKnown), arch) == std::end(kKnown)) {
    return Fail(ErrorCode::kUnimplemented,
                fmt::format("{}: unknown architecture '{}' (supported: {})", file.path(), arch,
                            kSupportedGgufArchitectures));
  }
  SLIP_ASSIGN_OR_RETURN(const int64_t parts, file.IntOr("split.count", 1));
  if (parts > 1) {
    return Fail(ErrorCode::kUnimplemented,
                fmt::format("{}: one of {} parts of a split GGUF; merge them into one file first",
                            file.path(), parts));
  }
  if (file.tensors().empty()) {
    return InvalidArgument(
        fmt::format("{}: holds no tensors (a vocabulary-only GGUF cannot be run)", file.path()));
  }
  return ConfigReader(file, arch).Run();
}

}  // namespace slipstream
