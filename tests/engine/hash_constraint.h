// A grammar without grammar: what may come next is a hash of the tokens so far. Now and then only
// stop tokens may follow, or nothing. Advance fails on a token that the state did not allow, so a
// mask that was applied late, to the wrong row or not at all is found.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/token_constraint.h"

namespace slipstream::testing {

class HashConstraintState final : public TokenConstraintState {
 public:
  HashConstraintState(uint64_t salt, int64_t vocab_size, std::span<const int32_t> stop_ids)
      : hash_(MixBits(salt)),
        vocab_size_(vocab_size),
        stop_ids_(stop_ids.begin(), stop_ids.end()) {}

  bool Allows(int32_t token) const {
    const bool stops = std::find(stop_ids_.begin(), stop_ids_.end(), token) != stop_ids_.end();
    const uint64_t kind = hash_ % 32;  // 0: over, 1: only stop tokens
    if (stops) return kind != 0 && hash_ % 3 == 1;
    return kind > 1 && MixBits(hash_ + static_cast<uint64_t>(token)) % 3 == 0;
  }
  Status Advance(int32_t token) override {
    if (!Allows(token)) return Internal("token " + std::to_string(token) + " was not allowed");
    hash_ = MixBits(hash_ * 31 + static_cast<uint64_t>(token));
    return {};
  }
  Status FillMask(std::span<uint32_t> mask) override {
    std::fill(mask.begin(), mask.end(), 0);
    for (int32_t t = 0; t < vocab_size_; ++t) {
      if (Allows(t)) mask[t / 32] |= uint32_t{1} << t % 32;
    }
    return {};
  }

 private:
  uint64_t hash_;
  const int64_t vocab_size_;
  const std::vector<int32_t> stop_ids_;
};

class HashConstraint final : public TokenConstraint {
 public:
  HashConstraint(uint64_t salt, int64_t vocab_size) : salt_(salt), vocab_size_(vocab_size) {}
  Result<std::unique_ptr<TokenConstraintState>> Start(
      std::span<const int32_t> stop_ids) const override {
    return std::make_unique<HashConstraintState>(salt_, vocab_size_, stop_ids);
  }

 private:
  const uint64_t salt_;
  const int64_t vocab_size_;
};

}  // namespace slipstream::testing
