// Runs a fuzz target without libFuzzer: on every file of its corpus, and on a few damaged copies of
// each, always the same ones. A target ends the process when it finds something; the name of the
// input is printed first. Most useful under the address sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace slipstream::fuzz {
namespace {

constexpr int kDamagedCopies = 16;

std::vector<std::filesystem::path> Corpus() {
  const char* root = std::getenv("SLIPSTREAM_SOURCE_DIR");
  std::vector<std::filesystem::path> files;
  if (root == nullptr) return files;
  const auto folder = std::filesystem::path(root) / "tests/fuzz/corpus" / SLIP_FUZZ_TARGET;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void RunTarget(const std::string& input, const std::string& name) {
  // Into memory of just this size.
  const std::vector<uint8_t> exact(input.begin(), input.end());
  const ::testing::ScopedTrace trace(__FILE__, __LINE__, name);
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

std::string Damage(std::string text, std::mt19937* random) {
  if (text.empty()) return text;
  const size_t at = (*random)() % text.size();
  switch ((*random)() % 4) {
    case 0:
      text[at] = static_cast<char>((*random)());
      break;
    case 1:
      text.resize(at);
      break;
    case 2:
      text.erase(at, 1 + (*random)() % 8);
      break;
    default:
      text.insert(at, text.substr((*random)() % text.size(), 1 + (*random)() % 32));
  }
  return text;
}

TEST(Replay, Corpus) {
  const auto files = Corpus();
  ASSERT_FALSE(files.empty());
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(in), {}};
    std::fprintf(stderr, "%s\n", file.filename().c_str());
    RunTarget(input, file.filename());
  }
}

TEST(Replay, DamagedCorpus) {
  std::mt19937 random(1);
  for (const auto& file : Corpus()) {
    std::ifstream in(file, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(in), {}};
    std::fprintf(stderr, "%s, damaged\n", file.filename().c_str());
    for (int i = 0; i < kDamagedCopies; ++i) RunTarget(Damage(input, &random), file.filename());
  }
}

}  // namespace
}  // namespace slipstream::fuzz
