#include "loader/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "loader/checkpoint.h"
#include "tests/loader/safetensors_writer.h"
#include "tests/loader/temp_dir.h"

namespace slipstream {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Safetensors, ReadsTensors) {
  const std::string bytes = SafetensorsWriter()
                                .Floats("a", {2, 3}, 1.5f)
                                .Add("b", "BF16", {2}, std::string_view("\x80\x3f\x00\xc0", 4))
                                .Add("scalar", "F16", {}, std::string_view("\x00\x3c", 2))
                                .Build();
  const auto file = SafetensorsFile::Parse("m.safetensors", bytes);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->tensors()[0].name, "a");
  EXPECT_THAT(file->tensors()[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(file->tensors()[1].dtype, DType::kBF16);
  EXPECT_TRUE(file->tensors()[2].shape.empty());
}

TEST(Safetensors, UnalignedDataIsCopiedToAlignedMemory) {
  std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  header.resize((header.size() + 7) / 8 * 8 + 1, ' ');
  const float values[] = {1.0f, 2.0f};
  const std::string bytes =
      SafetensorsBytes(header, {reinterpret_cast<const char*>(values), sizeof(values)});
  const auto file = SafetensorsFile::Parse("m.safetensors", bytes);
  ASSERT_TRUE(file) << file.error().message;
  const void* data = file->tensors()[0].data;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % sizeof(float), 0u);
  EXPECT_EQ(static_cast<const float*>(data)[1], 2.0f);
}

std::string Entry(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return fmt::format(R"("t":{{"dtype":"{}","shape":{},"data_offsets":{}}})", dtype, shape, offsets);
}

TEST(Safetensors, BadFilesAreNamedWithTheReason) {
  const std::string data(16, '\0');
  const auto one = [&](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return SafetensorsBytes("{" + Entry(dtype, shape, offsets) + "}", data);
  };
  std::string huge = one("F32", "[4]", "[0,16]"), beyond = huge;
  huge.replace(0, 8, 8, '\xff');
  beyond.replace(0, 8, std::string_view("\x00\x00\x00\x01\0\0\0\0", 8));
  const std::string other = R"("u":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})";
  const struct {
    std::string bytes;
    const char* wanted;
  } cases[] = {
      {"", "0 bytes"},
      {"short", "5 bytes"},
      {huge, "header of 18446744073709551615 bytes"},
      {beyond, "header of 16777216 bytes"},
      {SafetensorsBytes("{", data), "parse error"},
      {SafetensorsBytes("[]", data), "not a JSON object"},
      {SafetensorsBytes(R"({"t":3})", data), "'t'"},
      {SafetensorsBytes(R"({"t":{}})", data), "'t': 'dtype' is missing"},
      {one("", "[4]", "[0,16]"), "'t': 'dtype' is empty"},
      {one("I32", "[4]", "[0,32]"), "bytes 0 to 32"},
      {one("F32", "4", "[0,16]"), "'t': 'shape'"},
      {one("F32", "[-4]", "[0,16]"), "impossible size"},
      {one("F32", "[0]", "[0,0]"), "impossible size"},
      {one("F32", "[1099511627776,1099511627776]", "[0,16]"), "impossible size"},
      {one("F32", "[1,1,1,1,1,1,1,1,4]", "[0,16]"), "at most 8"},
      {one("F32", "[4]", "[0]"), "data_offsets"},
      {one("F32", "[4]", "[-4,12]"), "data_offsets"},
      {one("F32", "[4]", "[12,4]"), "bytes 12 to 4"},
      {one("F32", "[8]", "[0,32]"), "bytes 0 to 32"},
      {one("F32", "[3]", "[0,16]"), "need 12 bytes, the header gives 16"},
      {one("BF16", "[4]", "[0,16]"), "need 8 bytes"},
      {SafetensorsBytes("{" + Entry("F32", "[4]", "[0,16]") + "," + other + "}", data), "overlap"},
      {SafetensorsBytes("{" + other + "," + other + "}", data), "'u' appears twice"},
  };
  for (const auto& c : cases) {
    const auto file = SafetensorsFile::Parse("m.safetensors", c.bytes);
    ASSERT_FALSE(file) << c.wanted;
    EXPECT_THAT(file.error().message, AllOf(HasSubstr("m.safetensors"), HasSubstr(c.wanted)));
    EXPECT_EQ(file.error().message.find('\n'), std::string::npos) << c.wanted;
  }
}

std::string Floats(std::string_view name, float value) {
  return SafetensorsWriter().Floats(name, {2, 2}, value).Build();
}

TEST(HfCheckpoint, SingleFile) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig());
  dir.Write("model.safetensors",
            SafetensorsWriter()
                .Floats("w", {2, 3}, 0.5f)
                .Add("half", "F16", {2}, std::string_view("\x00\x3c\x01\x00", 4))
                .Add("brain", "BF16", {2}, std::string_view("\x80\x3f\x00\xc0", 4))
                .Build());
  const auto m = OpenCheckpoint(dir.path());
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ((*m)->format(), "safetensors");
  EXPECT_EQ((*m)->config().hidden_size, 8);
  EXPECT_EQ((*m)->Matrix("w", 2, 3)->dtype, DType::kF32);
  EXPECT_THAT((*m)->Vector("half", 2).value(), ElementsAre(1.0f, 0x1p-24f));
  EXPECT_THAT((*m)->Vector("brain", 2, 1.0f).value(), ElementsAre(2.0f, -1.0f));
  EXPECT_THAT((*m)->Matrix("w", 3, 2).error().message,
              AllOf(HasSubstr("model.safetensors"), HasSubstr("'w'"), HasSubstr("[2, 3]")));
}

TEST(HfCheckpoint, WeightsCanBeReadFromTheirFile) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig());
  const std::string path =
      dir.Write("model.safetensors",
                SafetensorsWriter().Floats("v", {3, 4}, 0.25f).Floats("w", {2, 3}, 0.5f).Build());
  const auto m = OpenCheckpoint(dir.path());
  ASSERT_TRUE(m) << m.error().message;
  const WeightView w = (*m)->Matrix("w", 2, 3).value();
  ASSERT_TRUE(w.file);
  float values[6] = {};
  ASSERT_TRUE(ReadAt(w.file, 0, values, sizeof values));
  EXPECT_THAT(values, Each(0.5f));
  std::filesystem::resize_file(path, static_cast<size_t>(w.file.offset) + 8);
  EXPECT_TRUE(ReadAt(w.file, 4, values, 4));
  const Status cut = ReadAt(w.file, 4, values, sizeof values - 4);
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(cut.error().message, AllOf(HasSubstr(path), HasSubstr("16 bytes too early")));
}

TEST(HfCheckpoint, ATypeNothingReadsFailsOnlyWhoeverAsksForIt) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig());
  dir.Write("model.safetensors", SafetensorsWriter()
                                     .Add("mask", "BOOL", {3}, "\x01\x01\x01")
                                     .Floats("w", {2, 3}, 0.5f)
                                     .Add("ids", "I64", {2}, std::string(16, '\0'))
                                     .Build());
  const auto m = OpenCheckpoint(dir.path());
  ASSERT_TRUE(m) << m.error().message;
  const auto w = (*m)->Matrix("w", 2, 3);
  ASSERT_TRUE(w) << w.error().message;
  EXPECT_EQ(static_cast<const float*>(w->data)[5], 0.5f);
  const auto ids = (*m)->Vector("ids", 2);
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, ErrorCode::kUnimplemented);
  EXPECT_THAT(ids.error().message,
              AllOf(HasSubstr("model.safetensors"), HasSubstr("'ids' has the unsupported type I64"),
                    HasSubstr("F32, F16, BF16")));
  EXPECT_EQ((*m)->Find("mask")->type_name(), "BOOL");
}

TEST(HfCheckpoint, Shards) {
  const TempDir dir;
  dir.Write("config.json", SmallLlamaConfig());
  dir.Write("a.safetensors", Floats("x", 1));
  dir.Write("b.safetensors", Floats("language_model.model.y", 2));
  const auto index = [&](std::string_view map) {
    dir.Write("model.safetensors.index.json", fmt::format(R"({{"weight_map": {}}})", map));
  };
  index(R"({"x": "a.safetensors", "language_model.model.y": "b.safetensors"})");
  const auto m = OpenCheckpoint(dir.path());
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_TRUE((*m)->Matrix("x", 2, 2));
  const auto y = (*m)->Matrix("model.y", 2, 2);
  ASSERT_TRUE(y) << y.error().message;
  EXPECT_EQ(static_cast<const float*>(y->data)[3], 2.0f);

  index(R"({"x": "a.safetensors", "z": "c.safetensors"})");
  EXPECT_THAT(OpenCheckpoint(dir.path()).error().message,
              AllOf(HasSubstr("index.json"), HasSubstr("'c.safetensors'")));
  index(R"({"x": "a.safetensors", "z": "b.safetensors"})");
  EXPECT_THAT(OpenCheckpoint(dir.path()).error().message,
              AllOf(HasSubstr("b.safetensors"), HasSubstr("'z' is missing")));
  index(R"({"x": "../a.safetensors"})");
  EXPECT_THAT(OpenCheckpoint(dir.path()).error().message, HasSubstr("not mapped to a file name"));
  index(R"({"x": 1})");
  EXPECT_FALSE(OpenCheckpoint(dir.path()));
  index("{}");
  EXPECT_THAT(OpenCheckpoint(dir.path()).error().message, HasSubstr("weight_map"));
}

TEST(HfCheckpoint, MissingFilesAreNamed) {
  const TempDir dir;
  EXPECT_THAT(OpenCheckpoint(dir.File("none")).error().message, HasSubstr("none"));
  EXPECT_THAT(OpenCheckpoint(dir.path()).error().message, HasSubstr("config.json"));
  const std::string config = dir.Write("config.json", SmallLlamaConfig());
  const auto no_weights = OpenCheckpoint(dir.path());
  ASSERT_FALSE(no_weights);
  EXPECT_EQ(no_weights.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(no_weights.error().message, HasSubstr("model.safetensors"));
  EXPECT_THAT(OpenCheckpoint(config).error().message, HasSubstr("give the folder"));
}

}  // namespace
}  // namespace slipstream
