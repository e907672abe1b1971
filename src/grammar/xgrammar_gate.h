// An end for the xgrammar library's compiles, which it has none for: the patched library
// (cmake/SlipstreamPackages.cmake) reports its work here, and is stopped by an exception when a
// compile grew too large or is not wanted any more. One gate per compile, on its thread's stack;
// any thread may ask it to stop. No gate on a thread: nothing is counted.
#pragma once

#include <atomic>
#include <cstdint>

namespace slipstream {

struct GrammarGate {
  // About the memory that a compile takes, in words of 4 bytes; what does not fit into the cache of
  // compiled grammars is not worth having.
  static constexpr int64_t kMaxWords = int64_t{64} << 20;

  explicit GrammarGate(const std::atomic<bool>* asked_to_stop);
  ~GrammarGate();
  GrammarGate(const GrammarGate&) = delete;
  GrammarGate& operator=(const GrammarGate&) = delete;

  const std::atomic<bool>* const stop;
  int64_t words_left = kMaxWords;
};

extern __thread GrammarGate* grammar_gate;

// Throws std::runtime_error with the reason.
[[noreturn]] void CloseGrammarGate(bool stopped);

// Called by the library in each of its long loops.
inline void OnGrammarWork(int64_t words) {
  GrammarGate* const gate = grammar_gate;
  if (gate == nullptr) return;
  gate->words_left -= words;
  const bool stopped = gate->stop->load(std::memory_order_relaxed);
  if (stopped || gate->words_left < 0) CloseGrammarGate(stopped);
}

}  // namespace slipstream
