#include "loader/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/loader/safetensors_writer.h"
#include "tests/loader/temp_dir.h"

namespace slipstream {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<ModelConfig> Parse(std::string_view text) {
  const TempDir dir;
  return ReadHfConfig(dir.Write("config.json", text));
}

// Sizes that every family accepts, with its name and further members.
std::string Config(std::string_view architecture, std::string_view extra = "") {
  return fmt::format(R"({{"architectures": ["{}"], "vocab_size": 96, "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16{}}})",
                     architecture, extra);
}

TEST(HfConfig, LlamaDefaults) {
  const auto c = Parse(SmallLlamaConfig());
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->architecture, "llama");
  EXPECT_EQ(c->head_dim, 4);
  EXPECT_EQ(c->max_position_embeddings, 2048);
  EXPECT_EQ(c->rms_norm_eps, 1e-6f);
  EXPECT_EQ(c->rope.theta, 1e4);
  EXPECT_EQ(c->rope.scaling, RopeScalingKind::kNone);
  EXPECT_FALSE(c->tie_word_embeddings);
  EXPECT_FALSE(c->rope_interleaved);
  EXPECT_FALSE(c->norm_weight_plus_one);
  EXPECT_EQ(c->sliding_window, 0);
}

TEST(HfConfig, RopeScalingInOldAndNewSpelling) {
  const char* kLlama3 = R"("factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                           "original_max_position_embeddings": 8192)";
  const std::string spellings[] = {
      fmt::format(R"(, "rope_theta": 500000, "rope_scaling": {{"type": "llama3", {}}})", kLlama3),
      fmt::format(R"(, "rope_theta": 5e5, "rope_scaling": {{"rope_type": "llama3", {}}})", kLlama3),
      fmt::format(R"(, "rope_parameters": {{"rope_type": "llama3", "rope_theta": 500000.0, {}}})",
                  kLlama3),
  };
  for (const std::string& s : spellings) {
    const auto c = Parse(Config("LlamaForCausalLM", s));
    ASSERT_TRUE(c) << c.error().message;
    EXPECT_EQ(c->rope.theta, 5e5);
    EXPECT_EQ(c->rope.scaling, RopeScalingKind::kLlama3);
    EXPECT_EQ(c->rope.factor, 8.0);
    EXPECT_EQ(c->rope.low_freq_factor, 1.0);
    EXPECT_EQ(c->rope.high_freq_factor, 4.0);
    EXPECT_EQ(c->rope.original_max_position, 8192);
  }
}

TEST(HfConfig, YarnAttentionFactor) {
  const auto c = Parse(Config("Qwen3ForCausalLM", R"(, "rope_scaling": {"rope_type": "yarn",
      "factor": 4.0, "original_max_position_embeddings": 32768, "beta_fast": 16,
      "mscale": 0.5, "mscale_all_dim": 1.0, "truncate": false})"));
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->rope.scaling, RopeScalingKind::kYarn);
  EXPECT_EQ(c->rope.beta_fast, 16.0);
  EXPECT_FALSE(c->rope.truncate);
  EXPECT_DOUBLE_EQ(*c->rope.attention_factor,
                   (0.05 * std::log(4.0) + 1) / (0.1 * std::log(4.0) + 1));
}

TEST(HfConfig, MistralWindow) {
  EXPECT_EQ(Parse(Config("MistralForCausalLM"))->sliding_window, 4096);
  EXPECT_EQ(Parse(Config("MistralForCausalLM", R"(, "sliding_window": null)"))->sliding_window, 0);
  const auto c = Parse(Config("MistralForCausalLM", R"(, "sliding_window": 8)"));
  EXPECT_EQ(c->sliding_window, 8);
  EXPECT_TRUE(c->layer_uses_window.empty());
}

TEST(HfConfig, QwenWindowOnlyWhenAskedFor) {
  const auto off = Parse(Config("Qwen2ForCausalLM", R"(, "sliding_window": 8)"));
  ASSERT_TRUE(off) << off.error().message;
  EXPECT_EQ(off->sliding_window, 0);
  EXPECT_TRUE(off->attention_bias);
  const auto on = Parse(Config("Qwen2ForCausalLM",
                               R"(, "use_sliding_window": true, "sliding_window": 8,
                                  "max_window_layers": 3)"));
  EXPECT_THAT(on->layer_uses_window, ElementsAre(false, false, false, true));
  const auto types = Parse(Config(
      "Qwen3ForCausalLM",
      R"(, "use_sliding_window": true, "sliding_window": 8, "layer_types": ["sliding_attention",
         "full_attention", "full_attention", "sliding_attention"])"));
  EXPECT_THAT(types->layer_uses_window, ElementsAre(true, false, false, true));
}

TEST(HfConfig, Gemma2) {
  const auto c = Parse(Config("Gemma2ForCausalLM", R"(, "query_pre_attn_scalar": 144)"));
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_TRUE(c->norm_weight_plus_one);
  EXPECT_TRUE(c->tie_word_embeddings);
  EXPECT_EQ(c->hidden_act, "gelu_pytorch_tanh");
  EXPECT_EQ(c->query_pre_attn_scalar, 144.0);
  EXPECT_EQ(c->attn_logit_softcap, 50.0);
  EXPECT_EQ(c->final_logit_softcap, 30.0);
  EXPECT_THAT(c->layer_uses_window, ElementsAre(true, false, true, false));
  const auto no_cap = Parse(Config("Gemma2ForCausalLM", R"(, "attn_logit_softcapping": null)"));
  EXPECT_EQ(no_cap->attn_logit_softcap, 0.0);
}

TEST(HfConfig, Gemma3PerLayerTypeRope) {
  const auto v4 = Parse(Config("Gemma3ForCausalLM", R"(, "num_hidden_layers": 4,
      "sliding_window_pattern": 3, "rope_theta": 1e6, "rope_local_base_freq": 20000.0,
      "rope_scaling": {"rope_type": "linear", "factor": 8.0})"));
  ASSERT_FALSE(v4);  // num_hidden_layers twice
  for (const char* extra :
       {R"(, "sliding_window_pattern": 3, "rope_local_base_freq": 20000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0})",
        R"(, "layer_types": ["sliding_attention", "sliding_attention", "full_attention",
            "sliding_attention"], "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0}})"}) {
    const auto c = Parse(Config("Gemma3ForCausalLM", extra));
    ASSERT_TRUE(c) << c.error().message;
    EXPECT_EQ(c->rope.theta, 1e6);
    EXPECT_EQ(c->rope.scaling, RopeScalingKind::kLinear);
    EXPECT_EQ(c->rope.factor, 8.0);
    EXPECT_EQ(c->rope_local_theta, 20000.0);
    EXPECT_THAT(c->layer_uses_window, ElementsAre(true, true, false, true));
  }
}

TEST(HfConfig, Gemma3TextConfigOfTheMultimodalModel) {
  const auto c = Parse(R"({"architectures": ["Gemma3ForConditionalGeneration"],
      "eos_token_id": [1, 106], "text_config": {"hidden_size": 2560, "intermediate_size": 10240,
      "num_hidden_layers": 34, "sliding_window": 1024,
      "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}})");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->architecture, "gemma3");
  EXPECT_EQ(c->num_layers, 34);
  EXPECT_EQ(c->num_heads, 8);
  EXPECT_EQ(c->head_dim, 256);
  EXPECT_EQ(c->vocab_size, 262208);
  EXPECT_EQ(c->rope.theta, 1e6);
  EXPECT_EQ(c->rope_local_theta, 1e4);
  EXPECT_THAT(c->eos_token_ids, ElementsAre(1, 106));
}

TEST(HfConfig, ModelTypeStandsInForArchitectures) {
  const auto c = Parse(R"({"architectures": null, "model_type": "gemma3_text"})");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->architecture, "gemma3");
}

TEST(HfConfig, GenerationConfigAddsEos) {
  const TempDir dir;
  const std::string path =
      dir.Write("config.json", SmallLlamaConfig(R"(, "eos_token_id": 2, "bos_token_id": 1)"));
  dir.Write("generation_config.json", R"({"eos_token_id": [2, 4]})");
  const auto c = ReadHfConfig(path);
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_THAT(c->eos_token_ids, ElementsAre(2, 4));
  EXPECT_EQ(c->bos_token_id, 1);
  dir.Write("generation_config.json", "[");
  EXPECT_THAT(ReadHfConfig(path).error().message, HasSubstr("generation_config.json"));
}

TEST(HfConfig, PoolingOfSentenceTransformers) {
  const TempDir dir;
  const std::string path = dir.Write("config.json", SmallLlamaConfig());
  EXPECT_EQ(ReadHfConfig(path)->pooling, "");
  std::filesystem::create_directory(dir.File("1_Pooling"));
  dir.Write("1_Pooling/config.json", R"({"pooling_mode_lasttoken": true})");
  EXPECT_EQ(ReadHfConfig(path)->pooling, "last");
  dir.Write("1_Pooling/config.json", R"({"pooling_mode_mean_tokens": true})");
  EXPECT_EQ(ReadHfConfig(path)->pooling, "mean");
  dir.Write("1_Pooling/config.json", R"({"pooling_mode_cls_token": true})");
  EXPECT_EQ(ReadHfConfig(path)->pooling, "");
  dir.Write("1_Pooling/config.json", "[");
  EXPECT_THAT(ReadHfConfig(path).error().message, HasSubstr("1_Pooling/config.json"));
}

TEST(HfConfig, BadFilesAreNamedWithTheReason) {
  const struct {
    std::string text;
    const char* wanted;
  } cases[] = {
      {"", "empty"},
      {"{", "parse error"},
      {"[]", "not a JSON object"},
      {std::string(5000, '['), "nested too deeply"},
      {"{\"model_type\": \"\xff\"}", "config.json"},
      {"{}", "unknown architecture '' (supported: LlamaForCausalLM"},
      {R"({"architectures": ["GPT2LMHeadModel"]})", "unknown architecture 'GPT2LMHeadModel'"},
      {R"({"architectures": 3})", "'architectures' is 3"},
      {R"({"architectures": ["LlamaForCausalLM"]})", "'vocab_size' is missing"},
      {SmallLlamaConfig(R"(, "rms_norm_eps": "small")"), "'rms_norm_eps' is \"small\""},
      {SmallLlamaConfig(R"(, "rms_norm_eps": -1)"), "rms_norm_eps is -1"},
      {SmallLlamaConfig(R"(, "head_dim": 3)"), "head_dim 3 is odd"},
      {SmallLlamaConfig(R"(, "head_dim": 2.5)"), "'head_dim' is 2.5"},
      {SmallLlamaConfig(R"(, "head_dim": 18446744073709551615)"), "'head_dim' is 1844"},
      {SmallLlamaConfig(R"(, "max_position_embeddings": -5)"), "max_position_embeddings is -5"},
      {SmallLlamaConfig(R"(, "mlp_bias": 1)"), "'mlp_bias' is 1"},
      {SmallLlamaConfig(R"(, "quantization_config": {})"), "quantization_config"},
      {SmallLlamaConfig(R"(, "hidden_act": "relu")"), "hidden_act 'relu'"},
      {SmallLlamaConfig(R"(, "eos_token_id": -1)"), "'eos_token_id' is -1"},
      {SmallLlamaConfig(R"(, "eos_token_id": [1, "a"])"), "'eos_token_id'"},
      {SmallLlamaConfig(R"(, "rope_theta": 0)"), "rope_theta is 0"},
      {SmallLlamaConfig(R"(, "rope_scaling": {"type": "dynamic", "factor": 2})"), "'dynamic'"},
      {SmallLlamaConfig(R"(, "rope_scaling": {"type": "linear"})"), "'factor' is missing"},
      {SmallLlamaConfig(R"(, "rope_scaling": [])"), "'rope_scaling' is []"},
      {SmallLlamaConfig(R"(, "rope_scaling": {"type": "llama3", "factor": 2, "low_freq_factor": 1,
                           "high_freq_factor": 1})"),
       "are equal"},
      {Config("Gemma2ForCausalLM", R"(, "layer_types": ["full_attention"])"), "1 entries for 4"},
      {Config("Gemma2ForCausalLM", R"(, "layer_types": ["chunked_attention"])"), "layer_types"},
      {Config("Gemma2ForCausalLM", R"(, "sliding_window_pattern": 0)"), "sliding_window_pattern"},
      {R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 6, "hidden_size": 8,
           "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
           "num_key_value_heads": 0})",
       "num_key_value_heads is 0"},
      {R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 6, "hidden_size": 8,
           "intermediate_size": 16, "num_hidden_layers": 1025, "num_attention_heads": 2})",
       "num_hidden_layers is 1025"},
  };
  for (const auto& c : cases) {
    const auto config = Parse(c.text);
    ASSERT_FALSE(config) << c.text;
    EXPECT_THAT(config.error().message, AllOf(HasSubstr("config.json"), HasSubstr(c.wanted)));
    EXPECT_EQ(config.error().message.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace slipstream
