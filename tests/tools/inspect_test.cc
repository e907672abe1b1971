#include "tools/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loader/gguf_writer.h"
#include "tests/loader/safetensors_writer.h"
#include "tests/loader/temp_dir.h"

namespace slipstream {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Report(const std::string& path, bool full = false,
                   const std::string& load_format = "auto") {
  const auto report = InspectReport({path, load_format, full});
  return report ? *report : "error: " + report.error().message;
}

TEST(Inspect, NamesSizesTypesAndWhatIsMissing) {
  const TempDir dir;
  GgufWriter w = SmallGguf("llama");
  w.Tensor("blk.0.attn_q.weight", {8, 8}, GgufWriter::kF16, std::string(128, '\0'));
  w.Floats("extra.weight", {3}, 0);
  const std::string text = Report(dir.Write("m.gguf", w.Build()));
  EXPECT_THAT(text, AllOf(HasSubstr("llama"), HasSubstr("2 query, 1 key/value, of 4 dimensions"),
                          HasSubstr("6 tokens, embeddings tied"), HasSubstr("theta 10000")));
  EXPECT_THAT(text, AllOf(HasSubstr("F16          1"), HasSubstr("16.00"), HasSubstr("32.00")));
  EXPECT_THAT(text, HasSubstr("self_attn.q_proj.weight"));
  EXPECT_THAT(text, HasSubstr("'model.layers.0.self_attn.v_proj.weight' [4, 8] is missing"));
  EXPECT_THAT(text, HasSubstr("1 tensors are not used, the first is 'extra.weight'"));
  EXPECT_THAT(text, HasSubstr("tokenizer: "));
}

TEST(Inspect, LayersThatAreAlikeShareALine) {
  const TempDir dir;
  dir.Write("config.json", R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 6,
      "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 12,
      "num_attention_heads": 2})");
  const std::string brief = Report(dir.path(), false, "dummy");
  EXPECT_THAT(brief, AllOf(HasSubstr("0-11"), Not(HasSubstr("model.layers.7."))));
  EXPECT_THAT(brief, Not(HasSubstr("is missing")));
  EXPECT_THAT(Report(dir.path(), true, "dummy"), HasSubstr("model.layers.7.mlp.up_proj.weight"));
}

TEST(Inspect, AModelThatCannotBeOpenedIsAnError) {
  const TempDir dir;
  EXPECT_THAT(Report(dir.File("none.gguf")), AllOf(HasSubstr("error: "), HasSubstr("none.gguf")));
  EXPECT_THAT(Report(dir.path(), false, "zip"), HasSubstr("'zip'"));
  EXPECT_EQ(RunInspect({dir.Write("bad.gguf", "GGUF")}), 1);
}

}  // namespace
}  // namespace slipstream
