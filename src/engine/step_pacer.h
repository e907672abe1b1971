// Sizes the prefill part of steps that carry decodes by time, so that no open stream waits longer
// than a limit for its next token while prompts are computed. Learns what steps cost from steps
// that have ended; knows no clock itself. Owned by EngineCore, used on its thread. Nothing fails.
//
// Model: a step takes base + tokens * rate. The base is what steps without prompts take; the rate
// is that of the latest chunks, whose cost per token grows with the context before them.
#pragma once

#include <cstdint>

namespace slipstream {

class StepPacer {
 public:
  // 0: no limit.
  explicit StepPacer(double max_itl_ms) : limit_us_(max_itl_ms * 1e3) {}

  bool on() const { return limit_us_ > 0; }
  // Prompt tokens that a step with decodes may compute, at least kMinTokens: a prompt always moves.
  int32_t PrefillTokens() const;
  // A step with decodes took `us` from the end of the one before it, or from its own start.
  void Observe(int32_t num_prefill_tokens, double us);

  static constexpr int32_t kMinTokens = 16;
  // Of the first chunk, when nothing is known: small enough to be short anywhere.
  static constexpr int32_t kFirstTokens = 128;

 private:
  double limit_us_;
  double base_us_ = 0;  // 0: not seen
  double rate_us_ = 0;  // per prompt token; 0: not seen
};

}  // namespace slipstream
