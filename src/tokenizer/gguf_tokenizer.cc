// Tokenizers from the vocabularies of GGUF files: "gpt2" (byte-level merges), "llama"
// (sentencepiece pieces with scores) and "gemma4" (merges over characters).
#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>
#include <string>
#include <utility>

#include "tokenizer/byte_bpe.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/eog.h"
#include "tokenizer/gguf_pre.h"
#include "tokenizer/pipeline_tokenizer.h"
#include "tokenizer/scored_vocab.h"
#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;
constexpr std::string_view kBlank = "\xE2\x96\x81";  // U+2581

using Rules = std::vector<ByteBpe::MergeRule>;

class Builder {
 public:
  Builder(const GgufVocab& vocab, const VocabExtras& extras) : vocab_(vocab), extras_(extras) {}

  Result<std::shared_ptr<const Tokenizer>> Build() {
    SLIP_RETURN_IF_ERROR(CheckSizes());
    SLIP_RETURN_IF_ERROR(SetSpecialIds());
    if (vocab_.model == "gpt2") {
      SLIP_RETURN_IF_ERROR(BuildByteLevel());
    } else if (vocab_.model == "llama") {
      BuildSentencePiece();
    } else if (vocab_.model == "gemma4") {
      SLIP_RETURN_IF_ERROR(BuildCharacterMerges());
    } else {
      return Fail(ErrorCode::kUnimplemented,
                  "tokenizer.ggml.model: the tokenizer \"" + vocab_.model + "\" is not known");
    }
    CollectAdded();
    table_.chat_template = vocab_.chat_template;
    for (const int32_t id : extras_.eog_ids) {
      if (id >= 0 && static_cast<size_t>(id) < vocab_.tokens.size()) table_.eog_ids.push_back(id);
    }
    FindEndOfGeneration(table_);
    return std::make_shared<PipelineTokenizer>(std::move(table_), std::move(pipeline_));
  }

 private:
  GgufTokenType TypeOf(size_t id) const {
    return vocab_.token_types.empty() ? GgufTokenType::kNormal
                                      : static_cast<GgufTokenType>(vocab_.token_types[id]);
  }
  bool IsMergeable(size_t id) const {
    const GgufTokenType type = TypeOf(id);
    return type == GgufTokenType::kNormal || type == GgufTokenType::kUserDefined;
  }

  // What text may become: no control or unknown tokens.
  std::vector<bool> UsableIds() const {
    std::vector<bool> usable(vocab_.tokens.size());
    for (size_t id = 0; id < usable.size(); ++id) {
      usable[id] = IsMergeable(id) || TypeOf(id) == GgufTokenType::kByte;
    }
    return usable;
  }

  Status CheckSizes() const {
    const size_t count = vocab_.tokens.size();
    if (count == 0) return InvalidArgument("tokenizer.ggml.tokens: the vocabulary is empty");
    if (count > kMaxTokens) {
      return InvalidArgument("tokenizer.ggml.tokens: " + std::to_string(count) +
                             " tokens are too many");
    }
    if (!vocab_.token_types.empty() && vocab_.token_types.size() < count) {
      return InvalidArgument(
          "tokenizer.ggml.token_type: " + std::to_string(vocab_.token_types.size()) +
          " types for " + std::to_string(count) + " tokens");
    }
    if (!vocab_.scores.empty() && vocab_.scores.size() < count) {
      return InvalidArgument("tokenizer.ggml.scores: " + std::to_string(vocab_.scores.size()) +
                             " scores for " + std::to_string(count) + " tokens");
    }
    return {};
  }

  Status SetId(const char* key, std::optional<int32_t> id, std::optional<int32_t>& out) const {
    if (!id) return {};
    if (*id < 0 || static_cast<size_t>(*id) >= vocab_.tokens.size()) {
      return InvalidArgument(std::string(key) + ": id " + std::to_string(*id) +
                             " is not in the vocabulary of " +
                             std::to_string(vocab_.tokens.size()) + " tokens");
    }
    out = id;
    return {};
  }

  Status SetSpecialIds() {
    SLIP_RETURN_IF_ERROR(SetId("tokenizer.ggml.bos_token_id", vocab_.bos_id, table_.bos_id));
    SLIP_RETURN_IF_ERROR(SetId("tokenizer.ggml.eos_token_id", vocab_.eos_id, table_.eos_id));
    SLIP_RETURN_IF_ERROR(SetId("tokenizer.ggml.unknown_token_id", vocab_.unk_id, table_.unk_id));
    std::optional<int32_t> eot, eom;
    SLIP_RETURN_IF_ERROR(SetId("tokenizer.ggml.eot_token_id", vocab_.eot_id, eot));
    SLIP_RETURN_IF_ERROR(SetId("tokenizer.ggml.eom_token_id", vocab_.eom_id, eom));
    for (const auto& id : {eot, eom}) {
      if (id) table_.eog_ids.push_back(*id);
    }
    return {};
  }

  // Ids by spelling (of equal spellings the first counts) and special marks; texts are the
  // spellings for now. Spellings that are not UTF-8 can be produced but not found.
  void FillTable() {
    const size_t count = vocab_.tokens.size();
    table_.bytes = vocab_.tokens;
    table_.special.resize(count);
    table_.ids.reserve(count);
    for (size_t id = 0; id < count; ++id) {
      const GgufTokenType type = TypeOf(id);
      table_.special[id] = type == GgufTokenType::kControl || type == GgufTokenType::kUnknown;
      if (unicode::IsValid(vocab_.tokens[id])) {
        table_.ids.emplace(vocab_.tokens[id], static_cast<int32_t>(id));
      }
    }
  }

  Result<Rules> RankedMerges() const {
    Rules rules;
    rules.reserve(vocab_.merges.size());
    for (size_t i = 0; i < vocab_.merges.size(); ++i) {
      const std::string_view merge = vocab_.merges[i];
      const size_t blank = merge.find(' ', 1);
      if (blank == std::string_view::npos || blank + 1 == merge.size()) {
        return InvalidArgument("tokenizer.ggml.merges: entry " + std::to_string(i) + " (\"" +
                               std::string(merge) + "\") is not two tokens");
      }
      if (!unicode::IsValid(merge)) continue;
      rules.push_back({merge.substr(0, blank), merge.substr(blank + 1), static_cast<int32_t>(i)});
    }
    if (rules.empty()) return InvalidArgument("tokenizer.ggml.merges: there are none");
    return rules;
  }

  Status BuildByteLevel() {
    FillTable();
    for (size_t id = 0; id < table_.bytes.size(); ++id) {
      if (TypeOf(id) != GgufTokenType::kNormal || !unicode::IsValid(table_.bytes[id])) continue;
      if (auto bytes = byte_level::Decode(table_.bytes[id])) table_.bytes[id] = std::move(*bytes);
    }
    SLIP_ASSIGN_OR_RETURN(GgufPre pre, MakeGgufPre(vocab_.pre));
    SLIP_ASSIGN_OR_RETURN(const Rules rules, RankedMerges());
    pipeline_.normalizers = std::move(pre.normalizers);
    pipeline_.pre_tokenizers = std::move(pre.pre_tokenizers);
    BpeOptions options;
    options.ignore_merges = pre.ignore_merges;
    pipeline_.model = std::make_unique<ByteBpe>(table_.ids, UsableIds(), rules, options);
    SetBorders(vocab_.add_bos.value_or(pre.add_bos), vocab_.add_eos.value_or(false));
    return {};
  }

  Status BuildCharacterMerges() {
    FillTable();
    UnescapeTexts();
    SLIP_ASSIGN_OR_RETURN(const Rules rules, RankedMerges());
    pipeline_.normalizers.push_back(MakeLiteralReplace(" ", std::string(kBlank)));
    SLIP_ASSIGN_OR_RETURN(auto lines,
                          MakePatternSplit("[^\\n]+|[\\n]+", SplitBehavior::kIsolated, false));
    pipeline_.pre_tokenizers.push_back(std::move(lines));
    BpeOptions options;
    options.byte_fallback = true;
    options.unk_id = table_.unk_id;
    pipeline_.model = std::make_unique<ByteBpe>(table_.ids, UsableIds(), rules, options);
    SetBorders(vocab_.add_bos.value_or(true), vocab_.add_eos.value_or(false));
    return {};
  }

  // Byte tokens become their byte, U+2581 a blank.
  void UnescapeTexts() {
    for (size_t id = 0; id < table_.bytes.size(); ++id) {
      std::string& text = table_.bytes[id];
      const GgufTokenType type = TypeOf(id);
      if (type == GgufTokenType::kByte && text.size() == 6 && text.starts_with("<0x")) {
        text = std::string(1, static_cast<char>(std::strtol(text.c_str() + 3, nullptr, 16)));
      } else if (type == GgufTokenType::kNormal || type == GgufTokenType::kUserDefined) {
        for (size_t at = text.find(kBlank); at != std::string::npos; at = text.find(kBlank, at)) {
          text.replace(at++, kBlank.size(), " ");
        }
      }
    }
    table_.replace_each_bad_byte = true;
  }

  // A sentencepiece vocabulary merges the pair whose joined piece has the best score; every way to
  // cut a piece in two is therefore a merge rule, ranked by the score of the whole.
  void BuildSentencePiece() {
    FillTable();
    UnescapeTexts();
    const Rules rules = ScoredMerges();
    const bool prefix = vocab_.add_space_prefix.value_or(true);
    if (prefix) pipeline_.normalizers.push_back(MakePrepend(" "));
    pipeline_.normalizers.push_back(MakeLiteralReplace(" ", std::string(kBlank)));
    table_.strip_leading_space = prefix;
    BpeOptions options;
    options.byte_fallback = true;
    options.fuse_unk = true;
    options.unk_id = table_.unk_id;
    pipeline_.model = std::make_unique<ByteBpe>(table_.ids, UsableIds(), rules, options);
    SetBorders(vocab_.add_bos.value_or(true), vocab_.add_eos.value_or(false));
  }

  Rules ScoredMerges() const {
    std::vector<int32_t> order;
    for (size_t id = 0; id < vocab_.tokens.size(); ++id) {
      if (IsMergeable(id) && unicode::IsValid(vocab_.tokens[id])) {
        order.push_back(static_cast<int32_t>(id));
      }
    }
    const auto score = [&](int32_t id) {
      const float s = vocab_.scores.empty() ? 0.0f : vocab_.scores[static_cast<size_t>(id)];
      return std::isnan(s) ? -1e30f : s;
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return score(a) > score(b); });
    const auto is_part = [&](std::string_view part) {
      if (unicode::DecodeAt(part, 0).length == static_cast<int>(part.size())) return true;
      const auto it = table_.ids.find(part);
      return it != table_.ids.end() && IsMergeable(static_cast<size_t>(it->second));
    };
    Rules rules;
    int32_t rank = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      // Equal scores are equal ranks: of those the leftmost pair merges first.
      if (i > 0 && score(order[i]) != score(order[i - 1])) ++rank;
      const std::string_view piece = vocab_.tokens[static_cast<size_t>(order[i])];
      if (piece.empty()) continue;
      for (size_t cut = unicode::DecodeAt(piece, 0).length; cut < piece.size();
           cut += unicode::DecodeAt(piece, cut).length) {
        if (is_part(piece.substr(0, cut)) && is_part(piece.substr(cut))) {
          rules.push_back({piece.substr(0, cut), piece.substr(cut), rank});
        }
      }
    }
    return rules;
  }

  void SetBorders(bool bos, bool eos) {
    if (bos && table_.bos_id) pipeline_.prefix.push_back(*table_.bos_id);
    if (eos && table_.eos_id) pipeline_.suffix.push_back(*table_.eos_id);
  }

  // Control tokens are found in text on demand, user-defined ones always. Phi 3's template relies
  // on its special tokens taking the blanks that follow.
  void CollectAdded() {
    std::string name = vocab_.model_name;
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    const bool phi3 =
        name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
    std::vector<AddedToken> added, late;
    for (size_t id = 0; id < vocab_.tokens.size(); ++id) {
      const GgufTokenType type = TypeOf(id);
      const bool special = type == GgufTokenType::kControl || type == GgufTokenType::kUnknown;
      const std::string& text = vocab_.tokens[id];
      if ((!special && type != GgufTokenType::kUserDefined) || !unicode::IsValid(text)) continue;
      AddedToken token;
      token.text = text;
      token.id = static_cast<int32_t>(id);
      token.special = special;
      token.rstrip = phi3 && text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
      const bool is_late = !special && extras_.user_defined_after_normalizer;
      (is_late ? late : added).push_back(std::move(token));
    }
    pipeline_.raw_added = AddedTokens(std::move(added));
    pipeline_.normalized_added = AddedTokens(std::move(late));
  }

  const GgufVocab& vocab_;
  const VocabExtras& extras_;
  TokenTable table_;
  Pipeline pipeline_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> MakeTokenizerFromVocab(const GgufVocab& vocab,
                                                                const VocabExtras& extras) {
  try {
    return Builder(vocab, extras).Build();
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kResourceExhausted, "no memory for the vocabulary");
  }
}

Result<std::shared_ptr<const Tokenizer>> MakeTokenizerFromGguf(const GgufVocab& vocab) {
  return MakeTokenizerFromVocab(vocab, {});
}

}  // namespace slipstream
