#include "config/option_table.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace slipstream {
namespace {

class ConfigFile : public ::testing::Test {
 protected:
  Status Apply(const std::string& text) {
    const auto path = std::filesystem::temp_directory_path() /
                      ("slip_config_" + std::to_string(::getpid()) + ".json");
    std::ofstream(path) << text;
    const Status status = ApplyConfigFile(path.string(), options_);
    std::filesystem::remove(path);
    return status;
  }
  void ExpectError(const std::string& text, const std::string& words) {
    count_ = 1;
    kind_ = "a";
    const Status status = Apply(text);
    ASSERT_FALSE(status) << text;
    EXPECT_NE(status.error().message.find(words), std::string::npos) << status.error().message;
  }

  bool flag_ = false;
  int count_ = 1;
  uint64_t size_ = 2;
  double rate_ = 0.5;
  std::string kind_ = "a";
  std::vector<std::string> keys_;
  std::vector<Option> options_{
      {"engine", "flag", "", &flag_},
      {"engine", "max_count", "", &count_, 1, 100},
      {"engine", "size", "", &size_, 0, 1e18},
      {"server", "rate", "", &rate_, 0, 1},
      {"server", "kind", "", &kind_, 0, 0, {"a", "b"}},
      {"server", "keys", "", &keys_},
  };
};

TEST_F(ConfigFile, ReadsEveryTypeAndComments) {
  const Status status = Apply(R"({
    // a comment
    "engine": {"flag": true, "max_count": 7, "size": 10000000000},
    "server": {"rate": 0.25, "kind": "b", "keys": ["x", "y"]}})");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(flag_);
  EXPECT_EQ(count_, 7);
  EXPECT_EQ(size_, 10000000000u);
  EXPECT_EQ(rate_, 0.25);
  EXPECT_EQ(kind_, "b");
  EXPECT_EQ(keys_, (std::vector<std::string>{"x", "y"}));
}

TEST_F(ConfigFile, NamesWhatIsWrong) {
  ExpectError(R"({"engine": {"max_cuont": 7}})", "unknown key \"engine.max_cuont\"");
  ExpectError(R"({"motor": {}})", "unknown section \"motor\"");
  ExpectError(R"({"engine": {"max_count": "7"}})", "\"engine.max_count\" must be a whole number");
  ExpectError(R"({"engine": {"max_count": 1.5}})", "must be a whole number");
  ExpectError(R"({"engine": {"max_count": 99999999999}})", "must be a whole number in range");
  ExpectError(R"({"engine": {"size": -1}})", "\"engine.size\"");
  ExpectError(R"({"engine": {"max_count": 101}})", "--max-count: 101 is not between 1 and 100");
  ExpectError(R"({"server": {"kind": "c"}})", "\"c\" is not one of a, b");
  ExpectError(R"({"server": {"keys": [1]}})", "a list of strings");
  ExpectError(R"({"engine": [1]})", "\"engine\" must be an object");
  ExpectError("[]", "one JSON object");
  ExpectError("{", "not valid JSON");
  ExpectError(R"({"engine": {"max_count": )" + std::string(1'000'000, '['), "nested too deeply");
  ExpectError(R"({"engine": {"max_count": ")" + std::string(1'000'000, 'x') + "\"}}",
              "it is \"xxx");
  EXPECT_FALSE(ApplyConfigFile("/nonexistent/file.json", options_));
  const Status folder = ApplyConfigFile("/", options_);
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().message, "/: not a regular file");
}

TEST(OptionTable, FlagIsKebabCase) {
  int x = 0;
  EXPECT_EQ(FlagOf({"engine", "max_num_seqs", "", &x}), "--max-num-seqs");
}

}  // namespace
}  // namespace slipstream
