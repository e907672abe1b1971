#include "tokenizer/pretokenizer.h"

#include <functional>
#include <optional>
#include <utility>

#include "tokenizer/byte_level.h"
#include "tokenizer/scanners.h"
#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

using Piece = PreText::Piece;

struct Part {
  size_t begin, end;
  bool match;
};

// Applies a behaviour to the parts of one piece, which cover it in order.
void Emit(const std::vector<Part>& parts, SplitBehavior behavior, std::vector<Piece>& out) {
  const size_t first = out.size();
  bool previous_match = false;
  std::optional<size_t> held_match;  // kMergedWithNext: a match waiting for what follows it
  for (const Part& part : parts) {
    if (part.begin == part.end) continue;
    const bool have_last = out.size() > first;
    switch (behavior) {
      case SplitBehavior::kRemoved:
        if (!part.match) out.push_back({part.begin, part.end});
        break;
      case SplitBehavior::kIsolated:
        out.push_back({part.begin, part.end});
        break;
      case SplitBehavior::kMergedWithPrevious:
        if (part.match && !previous_match && have_last) {
          out.back().end = part.end;
        } else {
          out.push_back({part.begin, part.end});
        }
        break;
      case SplitBehavior::kMergedWithNext:
        if (part.match) {
          if (held_match) out.push_back({*held_match, part.begin});
          held_match = part.begin;
        } else {
          out.push_back({held_match.value_or(part.begin), part.end});
          held_match.reset();
        }
        break;
      case SplitBehavior::kContiguous:
        if (have_last && part.match == previous_match) {
          out.back().end = part.end;
        } else {
          out.push_back({part.begin, part.end});
        }
        break;
    }
    previous_match = part.match;
  }
  if (held_match) out.push_back({*held_match, parts.back().end});
}

// A step that only cuts: subclasses say which parts of a piece match.
class Splitter : public PreTokenizer {
 public:
  Splitter(SplitBehavior behavior, bool invert) : behavior_(behavior), invert_(invert) {}

  Status Apply(PreText& text) const final {
    std::vector<Piece> pieces;
    std::vector<Part> parts;
    for (const Piece& piece : text.pieces) {
      parts.clear();
      SLIP_RETURN_IF_ERROR(Find(text[piece], parts));
      for (Part& part : parts) {
        part.begin += piece.begin;
        part.end += piece.begin;
        part.match = part.match != invert_;
      }
      Emit(parts, behavior_, pieces);
    }
    text.pieces = std::move(pieces);
    return {};
  }

  bool keeps_text() const final { return behavior_ != SplitBehavior::kRemoved; }

 private:
  virtual Status Find(std::string_view piece, std::vector<Part>& parts) const = 0;

  SplitBehavior behavior_;
  bool invert_;
};

class RegexSplitter final : public Splitter {
 public:
  RegexSplitter(Regex regex, SplitBehavior behavior, bool invert)
      : Splitter(behavior, invert), regex_(std::move(regex)) {}

 private:
  Status Find(std::string_view piece, std::vector<Part>& parts) const override {
    size_t shown = 0, from = 0;
    while (from <= piece.size()) {
      SLIP_ASSIGN_OR_RETURN(const std::optional<Regex::Match> match, regex_.Find(piece, from));
      if (!match) break;
      if (match->begin > shown) parts.push_back({shown, match->begin, false});
      parts.push_back({match->begin, match->end, true});
      shown = from = match->end;
      if (match->begin == match->end) {  // an empty match cuts, the search goes on behind it
        if (from >= piece.size()) break;
        from += unicode::DecodeAt(piece, from).length;
      }
    }
    if (shown < piece.size()) parts.push_back({shown, piece.size(), false});
    return {};
  }

  Regex regex_;
};

class ScannerSplitter final : public Splitter {
 public:
  explicit ScannerSplitter(Scanner scanner)
      : Splitter(SplitBehavior::kIsolated, false), scanner_(scanner) {}

 private:
  Status Find(std::string_view piece, std::vector<Part>& parts) const override {
    for (size_t pos = 0; pos < piece.size();) {
      const size_t end = scanner_.Next(piece, pos);
      parts.push_back({pos, end, true});
      pos = end;
    }
    return {};
  }

  Scanner scanner_;
};

class LiteralSplitter final : public Splitter {
 public:
  LiteralSplitter(std::string literal, SplitBehavior behavior, bool invert)
      : Splitter(behavior, invert), literal_(std::move(literal)) {}

 private:
  Status Find(std::string_view piece, std::vector<Part>& parts) const override {
    size_t shown = 0;
    while (!literal_.empty()) {
      const size_t at = piece.find(literal_, shown);
      if (at == std::string_view::npos) break;
      if (at > shown) parts.push_back({shown, at, false});
      parts.push_back({at, at + literal_.size(), true});
      shown = at + literal_.size();
    }
    if (shown < piece.size()) parts.push_back({shown, piece.size(), false});
    return {};
  }

  std::string literal_;
};

bool IsOfKind(CharacterKind kind, uint32_t code_point) {
  const uint16_t classes = unicode::ClassesOf(code_point);
  switch (kind) {
    case CharacterKind::kDigit:
      return (classes & unicode::kNumber) != 0;
    case CharacterKind::kPunctuation:
      return unicode::IsClassicPunctuation(code_point);
    case CharacterKind::kWhitespace:
      return (classes & unicode::kSpace) != 0;
  }
  return false;
}

class CharacterSplitter final : public Splitter {
 public:
  CharacterSplitter(CharacterKind kind, SplitBehavior behavior)
      : Splitter(behavior, false), kind_(kind) {}

 private:
  Status Find(std::string_view piece, std::vector<Part>& parts) const override {
    size_t shown = 0;
    for (size_t pos = 0; pos < piece.size();) {
      const unicode::Decoded decoded = unicode::DecodeAt(piece, pos);
      const size_t end = pos + decoded.length;
      if (IsOfKind(kind_, decoded.code_point)) {
        if (pos > shown) parts.push_back({shown, pos, false});
        parts.push_back({pos, end, true});
        shown = end;
      }
      pos = end;
    }
    if (shown < piece.size()) parts.push_back({shown, piece.size(), false});
    return {};
  }

  CharacterKind kind_;
};

// \w of UTS 18: alphabetic characters, marks, decimal digits, connectors and joiners.
bool IsWordCharacter(uint32_t c) {
  constexpr uint16_t kWord =
      unicode::kLetter | unicode::kMark | unicode::kDecimal | unicode::kConnector;
  return (unicode::ClassesOf(c) & kWord) != 0 || c == 0x200C || c == 0x200D ||
         (c >= 0x2160 && c <= 0x2188) || (c >= 0x24B6 && c <= 0x24E9) ||
         (c >= 0x3021 && c <= 0x3029) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

class WordSplitter final : public Splitter {
 public:
  WordSplitter() : Splitter(SplitBehavior::kRemoved, false) {}

 private:
  enum class Kind { kWord, kBlank, kOther };
  static Kind KindOf(uint32_t c) {
    if (IsWordCharacter(c)) return Kind::kWord;
    return (unicode::ClassesOf(c) & unicode::kSpace) != 0 ? Kind::kBlank : Kind::kOther;
  }

  Status Find(std::string_view piece, std::vector<Part>& parts) const override {
    for (size_t pos = 0; pos < piece.size();) {
      const Kind kind = KindOf(unicode::DecodeAt(piece, pos).code_point);
      size_t end = pos;
      while (end < piece.size()) {
        const unicode::Decoded decoded = unicode::DecodeAt(piece, end);
        if (KindOf(decoded.code_point) != kind) break;
        end += decoded.length;
      }
      parts.push_back({pos, end, kind == Kind::kBlank});
      pos = end;
    }
    return {};
  }
};

// Rewrites each piece; `edit` appends the new text of a piece.
void Rewrite(PreText& text, const std::function<void(const Piece&, std::string&)>& edit) {
  std::string out;
  out.reserve(text.text.size() + text.text.size() / 2);
  for (Piece& piece : text.pieces) {
    const size_t begin = out.size();
    edit(piece, out);
    piece = {begin, out.size()};
  }
  text.text = std::move(out);
}

class ByteLevelStep final : public PreTokenizer {
 public:
  ByteLevelStep(bool add_prefix_space, bool use_regex, bool last)
      : add_prefix_space_(add_prefix_space), last_(last) {
    if (use_regex) split_ = std::make_unique<ScannerSplitter>(*ScannerFor(kGpt2Pattern));
  }

  Status Apply(PreText& text) const override {
    if (add_prefix_space_) {
      Rewrite(text, [&](const Piece& piece, std::string& out) {
        if (!text[piece].starts_with(' ')) out.push_back(' ');
        out += text[piece];
      });
    }
    if (split_ != nullptr) SLIP_RETURN_IF_ERROR(split_->Apply(text));
    if (last_) {
      text.raw_bytes = true;
      return {};
    }
    Rewrite(text,
            [&](const Piece& piece, std::string& out) { out += byte_level::Encode(text[piece]); });
    return {};
  }

  bool gives_raw_bytes() const override { return last_; }

 private:
  bool add_prefix_space_;
  bool last_;
  std::unique_ptr<ScannerSplitter> split_;
};

class MetaspaceStep final : public PreTokenizer {
 public:
  MetaspaceStep(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme) {
    if (split) {
      split_ =
          std::make_unique<LiteralSplitter>(replacement_, SplitBehavior::kMergedWithNext, false);
    }
  }

  Status Apply(PreText& text) const override {
    Rewrite(text, [&](const Piece& piece, std::string& out) {
      const std::string_view old = text[piece];
      const bool starts = old.starts_with(' ') || old.starts_with(replacement_);
      const bool prepend = scheme_ == PrependScheme::kAlways ||
                           (scheme_ == PrependScheme::kFirst && text.at_start && piece.begin == 0);
      if (prepend && !starts) out += replacement_;
      for (const char c : old) {
        if (c == ' ') {
          out += replacement_;
        } else {
          out.push_back(c);
        }
      }
    });
    return split_ != nullptr ? split_->Apply(text) : Status();
  }

  bool keeps_text() const override { return !replacement_.empty(); }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  std::unique_ptr<LiteralSplitter> split_;
};

}  // namespace

Result<std::unique_ptr<const PreTokenizer>> MakePatternSplit(std::string_view pattern,
                                                             SplitBehavior behavior, bool invert) {
  const std::optional<Scanner> scanner = ScannerFor(pattern);
  // A scanner's pre-tokens are all matches, so isolating them or removing the rest is the same.
  if (scanner &&
      (behavior == SplitBehavior::kIsolated || (behavior == SplitBehavior::kRemoved && invert))) {
    return std::make_unique<ScannerSplitter>(*scanner);
  }
  SLIP_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  return std::make_unique<RegexSplitter>(std::move(regex), behavior, invert);
}

std::unique_ptr<const PreTokenizer> MakeLiteralSplit(std::string literal, SplitBehavior behavior,
                                                     bool invert) {
  return std::make_unique<LiteralSplitter>(std::move(literal), behavior, invert);
}

std::unique_ptr<const PreTokenizer> MakeCharacterSplit(CharacterKind kind, SplitBehavior behavior) {
  return std::make_unique<CharacterSplitter>(kind, behavior);
}

std::unique_ptr<const PreTokenizer> MakeWordSplit() { return std::make_unique<WordSplitter>(); }

std::unique_ptr<const PreTokenizer> MakeByteLevel(bool add_prefix_space, bool use_regex,
                                                  bool last) {
  return std::make_unique<ByteLevelStep>(add_prefix_space, use_regex, last);
}

std::unique_ptr<const PreTokenizer> MakeMetaspace(std::string replacement, PrependScheme scheme,
                                                  bool split) {
  return std::make_unique<MetaspaceStep>(std::move(replacement), scheme, split);
}

}  // namespace slipstream
