// The program's command line: what it says of words, options and measurements it cannot take.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <string>

namespace slipstream {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Ran {
  int code = -1;
  std::string text;  // stdout and stderr
};

Ran Slipstream(const std::string& arguments) {
  Ran ran;
  const std::string command =
      fmt::format("{} {} 2>&1", std::getenv("SLIPSTREAM_BINARY"), arguments);
  FILE* pipe = popen(command.c_str(), "r");
  char chunk[4096];
  for (size_t n = 0; (n = std::fread(chunk, 1, sizeof chunk, pipe)) > 0;) ran.text.append(chunk, n);
  ran.code = pclose(pipe);
  return ran;
}

std::string Model() {
  return fmt::format("{}/tests/fixtures/models/smollm", std::getenv("SLIPSTREAM_SOURCE_DIR"));
}

TEST(CommandLine, AnUnknownCommandIsNamed) {
  for (const auto& [arguments, words] : {std::pair{"foo", "no command foo"},
                                         {"bench foo", "no command foo"},
                                         {"--foo", "no option --foo"},
                                         {"bench --foo", "no option --foo"},
                                         {"", "subcommand is required"},
                                         {"bench", "subcommand is required"},
                                         {"serve", "MODEL is required"},
                                         {"devices foo", "foo"}}) {
    const Ran ran = Slipstream(arguments);
    EXPECT_NE(ran.code, 0) << arguments;
    EXPECT_THAT(ran.text, HasSubstr(words)) << arguments;
  }
}

TEST(CommandLine, MoreThreadsThanProcessorsAreRefused) {
  for (const char* option : {"--num-threads", "--threads"}) {
    const Ran ran = Slipstream(fmt::format("bench offline {} {} 1000", Model(), option));
    EXPECT_NE(ran.code, 0);
    EXPECT_THAT(ran.text, HasSubstr(option));
    EXPECT_THAT(ran.text, HasSubstr("1000"));
  }
}

TEST(BenchOffline, RunsBothTestsOfABatch) {
  const Ran ran = Slipstream("bench offline " + Model() +
                             " --batch 3 --prompt 8 --gen 4 --repetitions 1 --num-threads 1");
  EXPECT_EQ(ran.code, 0) << ran.text;
  EXPECT_THAT(ran.text, HasSubstr("pp8@3"));
  EXPECT_THAT(ran.text, HasSubstr("tg4@3"));
}

TEST(BenchOffline, ABatchThatDoesNotRunAtOnceIsRefused) {
  const std::string bench = "bench offline " + Model() + " --prompt 8 --gen 4 --repetitions 1 ";
  const Ran few = Slipstream(bench + "--batch 5 --max-num-seqs 2");
  EXPECT_NE(few.code, 0);
  EXPECT_THAT(few.text, HasSubstr("--batch 5"));
  EXPECT_THAT(few.text, HasSubstr("--max-num-seqs"));
  EXPECT_THAT(few.text, Not(HasSubstr("tg4@5")));
  const Ran small = Slipstream(bench + "--batch 5 --num-blocks 4 --max-model-len 32");
  EXPECT_NE(small.code, 0);
  EXPECT_THAT(small.text, HasSubstr("--num-blocks"));
}

// docker/ starts servers with options that exist.
TEST(Serve, KnowsTheOptionsOfTheDeploymentFiles) {
  const Ran help = Slipstream("serve --help");
  ASSERT_EQ(help.code, 0);
  int options = 0;
  for (const char* name : {"k8s/server.yaml", "compose.yaml"}) {
    std::ifstream file(fmt::format("{}/docker/{}", std::getenv("SLIPSTREAM_SOURCE_DIR"), name));
    for (std::string line; std::getline(file, line);) {
      if (line.find('#') < line.find("--")) continue;
      const std::regex option("--[a-z][a-z-]+");
      for (std::sregex_iterator it(line.begin(), line.end(), option), end; it != end; ++it) {
        ++options;
        EXPECT_THAT(help.text, HasSubstr("  " + it->str() + " ")) << name;
      }
    }
  }
  EXPECT_GE(options, 8);
}

// The standard shapes are for large models: those beyond a small one's context are left out.
TEST(BenchStep, StandardShapesAreThoseThatFit) {
  const std::string bench = "bench step " + Model() + " --num-threads 1 --steps ";
  const Ran small = Slipstream(bench + "1 --num-blocks 20");
  EXPECT_EQ(small.code, 0) << small.text;
  EXPECT_THAT(small.text, HasSubstr("     1      128 "));
  EXPECT_THAT(small.text, Not(HasSubstr("1024 ")));
  const Ran asked = Slipstream(bench + "1 --shapes 1x1024");
  EXPECT_NE(asked.code, 0);
  EXPECT_THAT(asked.text, HasSubstr("limit of 256 tokens"));
  const Ran none = Slipstream(bench + "200");
  EXPECT_NE(none.code, 0);
  EXPECT_THAT(none.text, HasSubstr("no standard shape fits a context of 256 tokens"));
}

}  // namespace
}  // namespace slipstream
