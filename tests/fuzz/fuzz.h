// What the fuzz targets share. Each target is one file with LLVMFuzzerTestOneInput; it is linked
// with libFuzzer (preset `fuzz`), or with replay_test.cc, which runs the corpus in every other
// build. A target ends the process where something that must always hold does not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace slipstream::fuzz {

inline void Require(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

// An error that a client or an operator can read: some text, on one line.
inline void RequireReadable(const Error& error) {
  Require(!error.message.empty(), "an error says something");
  Require(error.message.find('\n') == std::string::npos, "an error is one line");
  Require(error.message.size() < 4096, "an error is short");
}

// The input in memory of exactly its size, so that a byte too far is seen.
inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Takes the first line off `text`.
inline std::string_view TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  const std::string_view line = text->substr(0, end);
  text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
  return line;
}

// `text` in pieces whose sizes follow from `seed`; many of one byte.
inline std::vector<std::string_view> Cut(std::string_view text, uint64_t seed, size_t longest) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const size_t n = (seed >> 63) != 0 ? 1 : 1 + (seed >> 33) % longest;
    pieces.push_back(text.substr(0, n));
    text.remove_prefix(pieces.back().size());
  }
  return pieces;
}

}  // namespace slipstream::fuzz
