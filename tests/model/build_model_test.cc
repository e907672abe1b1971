// What BuildModel says about checkpoints that do not fit their family.
#include <gtest/gtest.h>

#include <map>

#include "model/arch_spec.h"
#include "tests/model/golden_harness.h"
#include "tests/model/reference_backend.h"

namespace slipstream::testing {
namespace {

using ::testing::Test;

// A fixture with its config or single tensors changed.
class EditedCheckpoint final : public Checkpoint {
 public:
  explicit EditedCheckpoint(const std::string& fixture) : base_(LoadFixture(fixture)) {
    config_ = base_.checkpoint->config();
    tensors_ = base_.checkpoint->tensors();
  }
  const ModelConfig& config() const override { return config_; }
  std::string_view format() const override { return "edited"; }
  const std::string& path() const override { return base_.checkpoint->path(); }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  const CheckpointTensor* Find(std::string_view name) const override {
    for (const CheckpointTensor& t : tensors_) {
      if (t.name == name) return &t;
    }
    return nullptr;
  }
  CheckpointTensor& Edit(std::string_view name) {
    return const_cast<CheckpointTensor&>(*Find(name));
  }

  ModelConfig config_;

 private:
  GoldenFixture base_;
  std::vector<CheckpointTensor> tensors_;
};

std::string ErrorOf(const Checkpoint& checkpoint) {
  const auto backend = MakeReferenceBackend();
  const auto model = BuildModel(checkpoint, *backend);
  return model ? "" : model.error().message;
}

TEST(BuildModelTest, UnknownFamilyListsTheKnownOnes) {
  EditedCheckpoint checkpoint("llama2");
  checkpoint.config_.architecture = "mamba";
  const std::string error = ErrorOf(checkpoint);
  for (const char* word : {"\"mamba\"", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"}) {
    EXPECT_NE(error.find(word), std::string::npos) << error;
  }
}

TEST(BuildModelTest, MissingTensorIsNamed) {
  EditedCheckpoint checkpoint("qwen3");
  const std::string name = "model.layers.1.self_attn.q_norm.weight";
  checkpoint.Edit(name).name = "gone";
  EXPECT_NE(ErrorOf(checkpoint).find(name), std::string::npos) << ErrorOf(checkpoint);
}

TEST(BuildModelTest, RequiredBiasIsNamed) {
  EditedCheckpoint checkpoint("qwen2");
  const std::string name = "model.layers.0.self_attn.k_proj.bias";
  checkpoint.Edit(name).name = "gone";
  EXPECT_NE(ErrorOf(checkpoint).find(name), std::string::npos) << ErrorOf(checkpoint);
}

TEST(BuildModelTest, WrongShapeNamesTensorAndBothShapes) {
  EditedCheckpoint checkpoint("llama2");
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  checkpoint.Edit(name).shape = {64, 32};
  const std::string error = ErrorOf(checkpoint);
  for (const std::string& word : {name, std::string("32"), std::string("64")}) {
    EXPECT_NE(error.find(word), std::string::npos) << error;
  }
}

TEST(BuildModelTest, UnknownActivationAndLayerListAreErrors) {
  EditedCheckpoint activation("llama2");
  activation.config_.hidden_act = "relu";
  EXPECT_NE(ErrorOf(activation).find("\"relu\""), std::string::npos);
  EditedCheckpoint layers("gemma2");
  layers.config_.layer_uses_window.pop_back();
  EXPECT_NE(ErrorOf(layers).find("layer_types"), std::string::npos);
}

TEST(BuildModelTest, StepsOutOfBoundsAreErrors) {
  const GoldenFixture fixture = LoadFixture("llama2");
  const auto backend = MakeReferenceBackend();
  auto model = BuildModel(*fixture.checkpoint, *backend);
  ASSERT_TRUE(model);
  ASSERT_TRUE((*model)->Reserve({.max_tokens = 4, .max_logit_rows = 2}));
  const std::vector<KvLayerView> kv((*model)->config().num_layers);
  const std::vector<int32_t> too_many(5, 3), bad_id = {100000};
  EXPECT_FALSE((*model)->Forward({.token_ids = too_many}, kv));
  EXPECT_FALSE((*model)->Forward({.token_ids = bad_id}, kv));
  EXPECT_FALSE((*model)->Forward({.token_ids = std::span(too_many).first(1)}, {}));
  EXPECT_FALSE((*model)->Logits(0, 1));
}

}  // namespace
}  // namespace slipstream::testing
