// What the tokens of a sequence must add up to: a grammar, as the engine and the samplers see it.
// A TokenConstraint is const and shared by any number of sequences and threads; the state of one
// sequence is used by one thread at a time, states of different sequences at once. Implemented by grammar/, so that the engine knows neither
// text nor grammars. Nothing throws.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace slipstream {

class TokenConstraintState {
 public:
  virtual ~TokenConstraintState() = default;
  // Takes the next token of the sequence, which must be one that the last mask allowed.
  virtual Status Advance(int32_t token) = 0;
  // Sets bit t % 32 of word t / 32 where token t may come next and clears all others. `mask` has
  // TokenMaskWords(vocab_size) words. Stop tokens are allowed where the text may end.
  virtual Status FillMask(std::span<uint32_t> mask) = 0;
};

class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  // `stop_ids` end the sequence. Those that add no text are allowed where the text may end, and
  // nowhere else; without any, a mask in which nothing is allowed tells of the end.
  virtual Result<std::unique_ptr<TokenConstraintState>> Start(
      std::span<const int32_t> stop_ids) const = 0;
};

constexpr int64_t TokenMaskWords(int64_t vocab_size) { return (vocab_size + 31) / 32; }
constexpr bool TokenAllowed(std::span<const uint32_t> mask, int32_t token) {
  return (mask[static_cast<uint32_t>(token) / 32] >> (static_cast<uint32_t>(token) % 32) & 1) != 0;
}

}  // namespace slipstream
