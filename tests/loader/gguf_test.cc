#include "loader/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loader/gguf_writer.h"
#include "tests/loader/temp_dir.h"

namespace slipstream {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Gguf, ReadsTypedMetadata) {
  GgufWriter w;
  w.U32("n", 7).F32("f", 0.5f).Bool("b", true).Text("s", "hello").U64("big", ~0ull);
  w.Texts("words", {"a", "", "c d"}).I32s("ids", {-1, 2});
  const std::string bytes = w.Build();
  const auto file = GgufFile::Parse("x.gguf", bytes);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->Int("n").value(), 7);
  EXPECT_EQ(file->Float("n").value(), 7.0);
  EXPECT_EQ(file->Float("f").value(), 0.5);
  EXPECT_TRUE(file->BoolOr("b", false).value());
  EXPECT_EQ(file->String("s").value(), "hello");
  EXPECT_THAT(file->Strings("words").value(), ElementsAre("a", "", "c d"));
  EXPECT_THAT(file->Ints("ids").value(), ElementsAre(-1, 2));
  EXPECT_EQ(file->IntOr("none", 3).value(), 3);
  EXPECT_EQ(file->StringOr("none", "x").value(), "x");
}

TEST(Gguf, WrongTypeAndMissingKeyNameFileAndKey) {
  GgufWriter w;
  w.U64("big", ~0ull).Text("s", "x").I32s("ids", {1});
  const std::string bytes = w.Build();
  const auto file = GgufFile::Parse("x.gguf", bytes);
  ASSERT_TRUE(file);
  EXPECT_THAT(file->Int("none").error().message, AllOf(HasSubstr("x.gguf"), HasSubstr("'none'")));
  EXPECT_THAT(file->Int("s").error().message, AllOf(HasSubstr("'s'"), HasSubstr("string")));
  EXPECT_THAT(file->Int("big").error().message, HasSubstr("'big'"));
  EXPECT_FALSE(file->BoolOr("s", true));
  EXPECT_FALSE(file->StringOr("big", ""));
  EXPECT_FALSE(file->Strings("ids"));
  EXPECT_FALSE(file->Floats("ids"));
  EXPECT_FALSE(file->Ints("s"));
}

TEST(Gguf, TensorsHaveShapesOutermostFirstAndAlignedData) {
  const std::string bytes = SmallGguf("llama").Build();
  const auto file = GgufFile::Parse("x.gguf", bytes);
  ASSERT_TRUE(file) << file.error().message;
  const GgufTensor* t = file->FindTensor("blk.0.attn_k.weight");
  ASSERT_NE(t, nullptr);
  EXPECT_THAT(t->shape, ElementsAre(4, 8));
  EXPECT_EQ(t->bytes, 128u);
  EXPECT_EQ((static_cast<const char*>(t->data) - bytes.data()) % 32, 0);
  EXPECT_EQ(std::string_view(static_cast<const char*>(t->data), 4),
            std::string_view("\0\0\0\x3f", 4));
}

struct BadFile {
  const char* what;
  std::string bytes;
  const char* wanted;
};

GgufWriter OneTensor(const std::vector<uint64_t>& dims, uint32_t type, size_t bytes) {
  GgufWriter w;
  w.Tensor("t", dims, type, std::string(bytes, '\0'));
  return w;
}

std::string Nested(int depth) {
  std::string value;
  for (int i = 0; i < depth; ++i) {
    GgufWriter::Append(&value, static_cast<uint32_t>(GgufType::kArray));
    GgufWriter::Append(&value, uint64_t{1});
  }
  GgufWriter::Append(&value, static_cast<uint32_t>(GgufType::kU8));
  GgufWriter::Append(&value, uint64_t{0});
  return value;
}

std::string HugeArray(GgufType type) {
  std::string value;
  GgufWriter::Append(&value, static_cast<uint32_t>(type));
  GgufWriter::Append(&value, ~uint64_t{0} / 4);
  return value;
}

std::vector<BadFile> BadFiles() {
  GgufWriter v1, v9, big_endian;
  v1.version = 1;
  v9.version = 9;
  big_endian.version = 0x03000000;
  std::string many_keys = GgufWriter().Build(), many_tensors = many_keys;
  many_keys.replace(16, 8, 8, '\xff');
  many_tensors.replace(8, 8, 8, '\xff');
  const std::string data(64, '\0');
  return {
      {"empty", "", "not a GGUF"},
      {"another format", "PK\x03\x04 a zip file", "not a GGUF"},
      {"magic alone", "GGUF", "truncated"},
      {"version 1", v1.Build(), "version 1"},
      {"version 9", v9.Build(), "version 9"},
      {"big-endian", big_endian.Build(), "big-endian"},
      {"key count", many_keys, "metadata keys"},
      {"tensor count", many_tensors, "tensors"},
      {"value type", GgufWriter().Raw("k", static_cast<GgufType>(99), "").Build(), "type 99"},
      {"array type", GgufWriter().Raw("k", GgufType::kArray, std::string(12, 'z')).Build(), "'k'"},
      {"deep", GgufWriter().Raw("k", GgufType::kArray, Nested(9)).Build(), "deeply"},
      {"u8s", GgufWriter().Raw("k", GgufType::kArray, HugeArray(GgufType::kU8)).Build(), "k "},
      {"f64s", GgufWriter().Raw("k", GgufType::kArray, HugeArray(GgufType::kF64)).Build(), "k "},
      {"texts", GgufWriter().Raw("k", GgufType::kArray, HugeArray(GgufType::kString)).Build(),
       "k "},
      {"long text", GgufWriter().Raw("k", GgufType::kString, std::string(8, '\xff')).Build(), "k "},
      {"same key", GgufWriter().U32("k", 1).U32("k", 2).Build(), "'k' appears twice"},
      {"same tensor", OneTensor({8}, 0, 32).Floats("t", {8}, 0).Build(), "'t' appears twice"},
      {"no dims", OneTensor({}, 0, 4).Build(), "0 dimensions"},
      {"five dims", OneTensor({1, 1, 1, 1, 1}, 0, 4).Build(), "5 dimensions"},
      {"zero dim", OneTensor({8, 0}, 0, 4).Build(), "impossible dimension"},
      {"overflow", OneTensor({1ull << 40, 1ull << 40}, 0, 4).Build(), "impossible dimension"},
      {"foreign past the end",
       GgufWriter().TensorAt("t", {256}, GgufWriter::kIQ4_XS, 96, data).Build(), "'t' needs"},
      {"part of a block", OneTensor({48}, GgufWriter::kQ4_0, 27).Build(), "Q4_0"},
      {"past the end", OneTensor({64}, 0, 64).Build(), "'t' needs 256 bytes"},
      {"unaligned", GgufWriter().TensorAt("t", {8}, 0, 4, data).Build(), "offset 4"},
      {"far offset", GgufWriter().TensorAt("t", {8}, 0, ~0ull - 31, data).Build(), "'t' needs"},
      {"overlap", GgufWriter().Floats("a", {16}, 0).TensorAt("b", {8}, 0, 32, data).Build(),
       "'a' and 'b' overlap"},
      {"alignment 3", OneTensor({8}, 0, 32).U32("general.alignment", 3).Build(), "alignment is 3"},
      {"alignment 0", OneTensor({8}, 0, 32).U32("general.alignment", 0).Build(), "alignment is 0"},
  };
}

TEST(Gguf, BadFilesAreNamedWithTheReason) {
  for (const BadFile& bad : BadFiles()) {
    const auto file = GgufFile::Parse("dir/x.gguf", bad.bytes);
    ASSERT_FALSE(file) << bad.what;
    EXPECT_THAT(file.error().message, AllOf(HasSubstr("dir/x.gguf"), HasSubstr(bad.wanted)))
        << bad.what;
    EXPECT_EQ(file.error().message.find('\n'), std::string::npos) << bad.what;
  }
}

TEST(Gguf, OpenRefusesWhatIsNotAFile) {
  const TempDir dir;
  EXPECT_EQ(GgufFile::Open(dir.File("none.gguf")).error().code, ErrorCode::kNotFound);
  EXPECT_THAT(GgufFile::Open(dir.path()).error().message, HasSubstr("not a regular file"));
  EXPECT_THAT(GgufFile::Open(dir.Write("empty", "")).error().message, HasSubstr("empty"));
}

// Every prefix of a file is a value or an error; with sanitizers also no stray read.
TEST(Gguf, TruncationAtEveryOffsetIsAnError) {
  GgufWriter w = SmallGguf("llama");
  w.Texts("tokenizer.ggml.tokens", {"a", "b"}).I32s("tokenizer.ggml.token_type", {1, 1});
  const std::string good = w.Build();
  ASSERT_TRUE(GgufFile::Parse("x", good));
  for (size_t n = 0; n < good.size(); ++n) {
    const std::vector<char> part(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n));
    const auto file = GgufFile::Parse("x", {part.data(), part.size()});
    EXPECT_FALSE(file) << n;
  }
}

}  // namespace
}  // namespace slipstream
