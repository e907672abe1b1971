// Steps that cut normalized text into pre-tokens before the model runs, each a value of the
// "pre_tokenizer" object of a tokenizer.json. Const after construction, any thread. Apply fails
// only if a pattern backtracks without end. Source: HF `tokenizers`, pre_tokenizers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/regex.h"

namespace slipstream {

// A fragment of text on its way to the model.
struct PreText {
  struct Piece {
    size_t begin, end;
  };
  std::string text;
  std::vector<Piece> pieces;  // in order, not empty, not overlapping
  bool at_start = true;       // the fragment starts the whole text
  bool raw_bytes = false;     // pieces are bytes that stand for their byte-level spelling

  std::string_view operator[](const Piece& piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual Status Apply(PreText& text) const = 0;
  // False if parts of the text may not reach the model.
  virtual bool keeps_text() const { return true; }
  // True if it sets PreText::raw_bytes.
  virtual bool gives_raw_bytes() const { return false; }
};
using PreTokenizerList = std::vector<std::unique_ptr<const PreTokenizer>>;

// What becomes of the parts that match.
enum class SplitBehavior {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous,
};

// By a regular expression or a literal text; with `invert` what does not match is the match.
// Patterns in wide use run as hand-written scanners, others through PCRE2.
Result<std::unique_ptr<const PreTokenizer>> MakePatternSplit(std::string_view pattern,
                                                             SplitBehavior behavior, bool invert);
std::unique_ptr<const PreTokenizer> MakeLiteralSplit(std::string literal, SplitBehavior behavior,
                                                     bool invert);

// By a class of characters.
enum class CharacterKind { kDigit, kPunctuation, kWhitespace };
std::unique_ptr<const PreTokenizer> MakeCharacterSplit(CharacterKind kind, SplitBehavior behavior);
// Words, and runs of what is neither word nor blank ("Whitespace").
std::unique_ptr<const PreTokenizer> MakeWordSplit();

// GPT-2's spelling of bytes. `last`: no step follows, so the text may stay as bytes.
std::unique_ptr<const PreTokenizer> MakeByteLevel(bool add_prefix_space, bool use_regex, bool last);

// sentencepiece's U+2581 for blanks.
enum class PrependScheme { kAlways, kFirst, kNever };
std::unique_ptr<const PreTokenizer> MakeMetaspace(std::string replacement, PrependScheme scheme,
                                                  bool split);

}  // namespace slipstream
