// Byte pair encoding of one pre-token by ranked merges: byte-level vocabularies (GPT-2) and
// character vocabularies with byte fallback (Llama 2, Gemma). Built once, then const; any thread
// may encode. Cannot fail: what the vocabulary cannot spell becomes the unknown token or nothing.
// Sources: Sennrich et al., arXiv 1508.07909; the order of merges is that of HF `tokenizers`.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "tokenizer/token_model.h"

namespace slipstream {

struct BpeOptions {
  bool ignore_merges = false;  // a pre-token that is in the vocabulary is one token
  bool byte_fallback = false;  // an unknown character becomes <0xXX> tokens
  bool fuse_unk = false;       // neighbouring unknown characters become one unknown token
  std::optional<int32_t> unk_id;
};

class ByteBpe final : public TokenModel {
 public:
  // A merge of two symbols; lower ranks first, of equal ranks the leftmost.
  struct MergeRule {
    std::string_view left, right;
    int32_t rank;
  };

  // `usable` says per id of the vocabulary `ids` whether text may become it: special and added
  // tokens are found elsewhere. All spellings are REQUIRED to be valid UTF-8.
  ByteBpe(const TokenIds& ids, std::vector<bool> usable, const std::vector<MergeRule>& merges,
          BpeOptions options);

  void Encode(const TokenIds& ids, std::string_view piece, bool raw_bytes,
              std::vector<int32_t>& out) const override;
  TextBound Bound(const TokenIds& ids, bool raw_bytes) const override;

 private:
  struct Merge {
    int32_t rank = -1;  // -1: there is none
    int32_t symbol = 0;
  };
  struct Slot {
    uint64_t key = ~uint64_t{0};
    Merge merge;
  };
  struct Symbol {
    int32_t id, prev, next;
  };

  // A symbol is a token id or, from vocab_size_ on, a step between merges that is no token.
  // -1: there is none, or text may not become it.
  int32_t Lookup(const TokenIds& ids, std::string_view spelling) const;
  // True if no character can vanish or share one unknown token with others.
  bool SpellsEverything(const TokenIds& ids) const;
  int32_t Intern(const TokenIds& ids, std::string_view spelling);
  Merge Find(int32_t left, int32_t right) const;
  void Insert(int32_t left, int32_t right, Merge merge);
  void Start(const TokenIds& ids, std::string_view piece, bool raw_bytes,
             std::vector<int32_t>& symbols) const;
  void Fallback(std::string_view character, std::vector<int32_t>& symbols, bool& last_unk) const;
  void MergeShort(std::vector<int32_t>& symbols) const;
  void MergeLong(std::vector<int32_t>& symbols) const;
  void NoteBlanks(std::string_view spelling);
  size_t SafeCut(std::string_view piece, size_t from) const;
  void EncodeCached(const TokenIds& ids, std::string_view piece, bool raw_bytes,
                    std::vector<int32_t>& out) const;
  void EncodeUncached(const TokenIds& ids, std::string_view piece, bool raw_bytes,
                      std::vector<int32_t>& out) const;

  BpeOptions options_;
  std::vector<bool> usable_;
  int32_t vocab_size_;
  uint32_t serial_;          // distinguishes tokenizers in the word cache of a thread
  std::vector<Slot> slots_;  // open addressing, at most half full
  std::array<int32_t, 256> byte_symbols_{};  // -1: not in the vocabulary
  std::array<int32_t, 256> fallback_ids_{};  // <0xXX>; -1: not in the vocabulary
  std::vector<std::string> extra_;           // spellings of the symbols from vocab_size_ on
  TokenIds extra_ids_;
  bool blank_is_token_ = false;                // U+2581 is in the vocabulary
  std::unordered_set<uint32_t> before_blank_;  // characters that some token has right before U+2581
};

}  // namespace slipstream
