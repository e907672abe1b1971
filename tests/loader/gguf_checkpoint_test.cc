#include "loader/gguf_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "loader/gguf_config.h"
#include "tests/loader/gguf_writer.h"
#include "tests/loader/temp_dir.h"

namespace slipstream {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<ModelConfig> ConfigOf(const GgufWriter& writer) {
  const std::string bytes = writer.Build();
  SLIP_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse("m.gguf", bytes));
  return GgufModelConfig(file);
}

TEST(GgufCheckpoint, LlamaConfig) {
  const auto c = ConfigOf(
      SmallGguf("llama").F32("llama.rope.freq_base", 5e5f).Floats("rope_freqs.weight", {2}, 4.0f));
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->architecture, "llama");
  EXPECT_EQ(c->name, "small");
  EXPECT_EQ(c->num_layers, 1);
  EXPECT_EQ(c->hidden_size, 8);
  EXPECT_EQ(c->intermediate_size, 16);
  EXPECT_EQ(c->num_heads, 2);
  EXPECT_EQ(c->num_kv_heads, 1);
  EXPECT_EQ(c->head_dim, 4);
  EXPECT_EQ(c->vocab_size, 6);
  EXPECT_EQ(c->max_position_embeddings, 128);
  EXPECT_EQ(c->rms_norm_eps, 1e-5f);
  EXPECT_EQ(c->rope.theta, 5e5);
  EXPECT_THAT(c->rope.freq_factors, ElementsAre(4.0f, 4.0f));
  EXPECT_TRUE(c->rope_interleaved);
  EXPECT_TRUE(c->tie_word_embeddings);
  EXPECT_FALSE(c->attention_bias);
  EXPECT_EQ(c->hidden_act, "silu");
  EXPECT_THAT(c->eos_token_ids, ElementsAre(2));
  EXPECT_EQ(c->bos_token_id, 1);
}

TEST(GgufCheckpoint, PoolingType) {
  EXPECT_EQ(ConfigOf(SmallGguf("llama"))->pooling, "");
  EXPECT_EQ(ConfigOf(SmallGguf("llama").U32("llama.pooling_type", 1))->pooling, "mean");
  EXPECT_EQ(ConfigOf(SmallGguf("llama").U32("llama.pooling_type", 3))->pooling, "last");
}

TEST(GgufCheckpoint, QwenIsNotInterleavedAndHasBias) {
  const auto c = ConfigOf(
      SmallGguf("qwen2").Floats("blk.0.attn_q.bias", {8}, 0).Floats("output.weight", {8, 6}, 0));
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_FALSE(c->rope_interleaved);
  EXPECT_TRUE(c->attention_bias);
  EXPECT_FALSE(c->tie_word_embeddings);
}

TEST(GgufCheckpoint, BiasesOfTheMlpAreNoticed) {
  EXPECT_FALSE(ConfigOf(SmallGguf("llama"))->mlp_bias);
  EXPECT_TRUE(ConfigOf(SmallGguf("llama").Floats("blk.0.ffn_up.bias", {16}, 0))->mlp_bias);
}

TEST(GgufCheckpoint, ATypeNothingReadsFailsOnlyWhoeverAsksForIt) {
  const TempDir dir;
  const std::string data(136, '\0');
  const std::string path =
      dir.Write("m.gguf", SmallGguf("llama")
                              .Tensor("blk.0.ffn_up.weight", {256}, GgufWriter::kIQ4_XS, data)
                              .Tensor("extra", {8}, 1234, data)
                              .Build());
  const auto m = OpenCheckpoint(path);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ((*m)->Vector("model.norm.weight", 8).value()[0], 1.5f);
  EXPECT_THAT((*m)->Vector("model.layers.0.mlp.up_proj.weight", 256).error().message,
              AllOf(HasSubstr("'blk.0.ffn_up.weight'"), HasSubstr("unsupported type IQ4_XS"),
                    HasSubstr("Q4_K")));
  EXPECT_THAT((*m)->Vector("extra", 8).error().message, HasSubstr("number 1234"));
}

TEST(GgufCheckpoint, Gemma2Config) {
  const auto c = ConfigOf(SmallGguf("gemma2", 4)
                              .U32("gemma2.attention.key_length", 16)
                              .U32("gemma2.attention.value_length", 16)
                              .U32("gemma2.attention.sliding_window", 32));
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->head_dim, 16);
  EXPECT_EQ(c->hidden_act, "gelu_pytorch_tanh");
  EXPECT_FALSE(c->norm_weight_plus_one);
  EXPECT_EQ(c->attn_logit_softcap, 50.0);
  EXPECT_EQ(c->final_logit_softcap, 30.0);
  EXPECT_EQ(c->query_pre_attn_scalar, 16.0);
  EXPECT_EQ(c->sliding_window, 32);
  EXPECT_THAT(c->layer_uses_window, ElementsAre(true, false, true, false));
}

TEST(GgufCheckpoint, Gemma3WindowAndLocalTheta) {
  const auto c = ConfigOf(SmallGguf("gemma3", 7)
                              .F32("gemma3.rope.freq_base", 1e6f)
                              .F32("gemma3.rope.scaling.factor", 8.0f)
                              .U32("gemma3.attention.sliding_window", 32));
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_THAT(c->layer_uses_window, ElementsAre(true, true, true, true, true, false, true));
  EXPECT_EQ(c->rope_local_theta, 1e4);
  EXPECT_EQ(c->rope.scaling, RopeScalingKind::kLinear);
  EXPECT_EQ(c->rope.factor, 8.0);
  EXPECT_EQ(c->attn_logit_softcap, 0.0);
}

TEST(GgufCheckpoint, YarnFactorMultiplies) {
  const auto c = ConfigOf(SmallGguf("qwen3")
                              .Text("qwen3.rope.scaling.type", "yarn")
                              .F32("qwen3.rope.scaling.factor", 4.0f)
                              .F32("qwen3.rope.scaling.attn_factor", 2.0f)
                              .U32("qwen3.rope.scaling.original_context_length", 32));
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->rope.scaling, RopeScalingKind::kYarn);
  EXPECT_EQ(c->rope.original_max_position, 32);
  EXPECT_DOUBLE_EQ(*c->rope.attention_factor, 2.0 * (0.1 * std::log(4.0) + 1.0));
}

TEST(GgufCheckpoint, TurnEndsAreFoundByText) {
  const auto c =
      ConfigOf(SmallGguf("llama")
                   .Texts("tokenizer.ggml.tokens", {"<|im_end|>", "a", "b", "<|eot_id|>", "c", "d"})
                   .I32s("tokenizer.ggml.token_type", {1, 1, 1, 3, 1, 1}));
  ASSERT_TRUE(c) << c.error().message;
  // The first is an ordinary token that only looks like one.
  EXPECT_THAT(c->eos_token_ids, ElementsAre(2, 3));
}

TEST(GgufCheckpoint, BadMetadataIsNamed) {
  const struct {
    GgufWriter writer;
    const char* wanted;
  } cases[] = {
      {GgufWriter().U32("a", 1), "'general.architecture' is missing"},
      {SmallGguf("mamba"), "unknown architecture 'mamba' (supported: llama"},
      {SmallGguf("llama").U32("split.count", 3), "split"},
      {SmallGguf("llama").U32("llama.expert_count", 8), "experts"},
      {SmallGguf("llama", 0), "num_hidden_layers is 0"},
      {SmallGguf("llama", 4000000000), "num_hidden_layers"},
      {SmallGguf("llama").U32("llama.rope.dimension_count", 2), "rotation of 2 of 4"},
      {SmallGguf("llama").Text("llama.rope.scaling.type", "longrope"), "'longrope'"},
      {SmallGguf("llama").F32("llama.rope.freq_base", NAN), "rope_theta"},
      {SmallGguf("llama").Floats("rope_freqs.weight", {3}, 1), "3 factors"},
      {SmallGguf("llama").Floats("rope_freqs.weight", {2}, 0), "rope_freqs.weight"},
      {SmallGguf("llama")
           .U32("llama.attention.key_length", 6)
           .U32("llama.attention.value_length", 4),
       "value heads"},
      {SmallGguf("llama").U32("tokenizer.ggml.eot_token_id", 77), "eot_token_id' is 77"},
      {SmallGguf("gemma2")
           .U32("gemma2.attention.sliding_window", 8)
           .I32s("gemma2.attention.sliding_window_pattern", {1, 0}),
       "layer_types has 2"},
  };
  for (const auto& c : cases) {
    const auto config = ConfigOf(c.writer);
    ASSERT_FALSE(config) << c.wanted;
    EXPECT_THAT(config.error().message, AllOf(HasSubstr("m.gguf"), HasSubstr(c.wanted)));
  }
}

TEST(GgufCheckpoint, VocabularyOnlyFileIsMetadataButNoModel) {
  const TempDir dir;
  GgufWriter w;
  w.Text("general.architecture", "llama").Texts("tokenizer.ggml.tokens", {"a", "b"});
  const std::string path = dir.Write("vocab.gguf", w.Build());
  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->Strings("tokenizer.ggml.tokens")->size(), 2u);
  EXPECT_THAT(OpenCheckpoint(path).error().message,
              AllOf(HasSubstr("vocab.gguf"), HasSubstr("no tensors")));
}

TEST(GgufCheckpoint, NamesAreThoseOfHuggingFace) {
  EXPECT_EQ(HfTensorName("llama", "token_embd.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(HfTensorName("llama", "output.weight"), "lm_head.weight");
  EXPECT_EQ(HfTensorName("llama", "rope_freqs.weight"), "rope_freqs.weight");
  EXPECT_EQ(HfTensorName("qwen2", "blk.12.attn_q.bias"), "model.layers.12.self_attn.q_proj.bias");
  EXPECT_EQ(HfTensorName("llama", "blk.3.ffn_norm.weight"),
            "model.layers.3.post_attention_layernorm.weight");
  EXPECT_EQ(HfTensorName("gemma3", "blk.3.ffn_norm.weight"),
            "model.layers.3.pre_feedforward_layernorm.weight");
  EXPECT_EQ(HfTensorName("gemma3", "blk.3.post_attention_norm.weight"),
            "model.layers.3.post_attention_layernorm.weight");
  for (const char* odd : {"", ".", "blk.", "blk.3", "blk.3.weight", "weight"}) {
    EXPECT_EQ(HfTensorName("llama", odd), odd);
  }
}

TEST(GgufCheckpoint, MatrixAndVectorCheckTheShape) {
  const TempDir dir;
  const auto m = OpenCheckpoint(dir.Write("m.gguf", SmallGguf("llama").Build()));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ((*m)->format(), "gguf");
  const auto view = (*m)->Matrix("model.layers.0.self_attn.k_proj.weight", 4, 8);
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_EQ(static_cast<const float*>(view->data)[31], 0.5f);
  EXPECT_THAT((*m)->Vector("model.norm.weight", 8, 1.0f).value(), ::testing::Each(2.5f));
  (*m)->ReleasePages();
  EXPECT_THAT((*m)->Vector("model.norm.weight", 8).value(), ::testing::Each(1.5f));
  EXPECT_THAT((*m)->Matrix("model.layers.0.self_attn.k_proj.weight", 8, 4).error().message,
              AllOf(HasSubstr("m.gguf"), HasSubstr("blk.0.attn_k.weight"), HasSubstr("[4, 8]"),
                    HasSubstr("[8, 4]")));
  EXPECT_THAT((*m)->Vector("lm_head.weight", 8).error().message,
              AllOf(HasSubstr("m.gguf"), HasSubstr("'lm_head.weight' is missing")));
}

TEST(GgufCheckpoint, QuantizedVectorIsRefused) {
  const TempDir dir;
  const auto m = OpenCheckpoint(dir.Write(
      "m.gguf", SmallGguf("llama")
                    .Tensor("blk.0.x.weight", {32}, GgufWriter::kQ8_0, std::string(34, '\0'))
                    .Build()));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_THAT((*m)->Vector("blk.0.x.weight", 32).error().message, HasSubstr("Q8_0"));
}

// The model that quickstart fetches, where it has been fetched.
TEST(GgufCheckpoint, SmolLm2) {
  const char* root = std::getenv("SLIPSTREAM_SOURCE_DIR");
  const std::string path =
      std::string(root != nullptr ? root : ".") + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
  const auto m = GgufCheckpoint::Open(path);
  ASSERT_TRUE(m) << m.error().message;
  const ModelConfig& c = (*m)->config();
  EXPECT_EQ(c.num_layers, 30);
  EXPECT_EQ(c.hidden_size, 576);
  EXPECT_EQ(c.num_kv_heads, 3);
  EXPECT_EQ(c.rope.theta, 1e5);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_THAT(c.eos_token_ids, ElementsAre(2, 0));
  EXPECT_EQ((*m)->tensors().size(), 272u);
  EXPECT_EQ((*m)->gguf().Strings("tokenizer.ggml.merges")->size(), 48900u);
  const auto up = (*m)->Matrix("model.layers.29.mlp.up_proj.weight", 1536, 576);
  ASSERT_TRUE(up) << up.error().message;
  EXPECT_EQ(up->dtype, DType::kQ4_1);
}

}  // namespace
}  // namespace slipstream
