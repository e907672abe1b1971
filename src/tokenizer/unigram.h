// The unigram model of sentencepiece as HF `tokenizers` runs it: the cut of a pre-token whose
// pieces have the best sum of scores. Const after construction, any thread. Cannot fail. Source:
// Kudo, arXiv 1804.10959.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/token_model.h"

namespace slipstream {

struct UnigramPiece {
  std::string text;
  double score;
};

class Unigram final : public TokenModel {
 public:
  // A piece's id is its place in `pieces`.
  Unigram(std::vector<UnigramPiece> pieces, std::optional<int32_t> unk_id, bool byte_fallback);

  void Encode(const TokenIds& ids, std::string_view piece, bool raw_bytes,
              std::vector<int32_t>& out) const override;
  TextBound Bound(const TokenIds&, bool) const override {
    // Without fallback neighbouring unknown characters share a token.
    return {.max_bytes = fallback_ids_.empty() ? 0 : std::max<size_t>(max_piece_bytes_, 1)};
  }

 private:
  void AppendUnknown(std::string_view text, std::vector<int32_t>& out) const;

  std::vector<double> scores_;
  TokenIds pieces_;
  std::optional<int32_t> unk_id_;
  std::vector<int32_t> fallback_ids_;  // 256 <0xXX> tokens; empty: none
  double unk_score_ = 0.0;
  size_t max_piece_bytes_ = 0;
};

}  // namespace slipstream
