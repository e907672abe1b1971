#include "tokenizer/tokenizer_json.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/byte_bpe.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/json_steps.h"
#include "tokenizer/unigram.h"

namespace slipstream {
namespace {

using nlohmann::json;

constexpr int64_t kMaxTokens = int64_t{1} << 24;
constexpr int kMaxDecoderDepth = 8;

const json& Member(const json& object, const char* key) {
  static const json kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

Result<int32_t> CheckedId(const json& value, const std::string& what) {
  if (!value.is_number_integer()) return InvalidArgument(what + " has an id that is no integer");
  const int64_t id = value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{1} << 40
                         ? kMaxTokens
                         : value.get<int64_t>();
  if (id < 0 || id >= kMaxTokens) {
    return InvalidArgument(what + " has the id " + value.dump() + ", which no vocabulary has");
  }
  return static_cast<int32_t>(id);
}

class Parser {
 public:
  explicit Parser(const json& root) : root_(root) {}

  Result<ParsedTokenizer> Parse() {
    if (!root_.is_object()) return InvalidArgument("the file is not a JSON object");
    const json& model = root_.at("model");
    type_ = model.value("type", std::string(model.contains("merges") ? "BPE" : ""));
    SLIP_RETURN_IF_ERROR(In("model.vocab", ParseVocab(Member(model, "vocab"))));
    SLIP_RETURN_IF_ERROR(In("added_tokens", ParseAdded(Member(root_, "added_tokens"))));
    auto normalizers = ParseNormalizers(Member(root_, "normalizer"));
    if (!normalizers) return tl::unexpected(std::move(normalizers.error()).With("normalizer"));
    out_.pipeline.normalizers = std::move(*normalizers);
    auto pre = ParsePreTokenizers(Member(root_, "pre_tokenizer"));
    if (!pre) return tl::unexpected(std::move(pre.error()).With("pre_tokenizer"));
    out_.pipeline.pre_tokenizers = std::move(*pre);
    SLIP_RETURN_IF_ERROR(In("added_tokens", PlaceAdded()));
    SLIP_RETURN_IF_ERROR(In("model", type_ == "Unigram" ? ParseUnigram(model) : ParseBpe(model)));
    SLIP_RETURN_IF_ERROR(In("post_processor", ParsePost(Member(root_, "post_processor"), 0)));
    SLIP_RETURN_IF_ERROR(In("decoder", ParseDecoder(Member(root_, "decoder"), 0)));
    FillBytes();
    return std::move(out_);
  }

 private:
  static Status In(const char* where, Status status) {
    if (!status) return tl::unexpected(std::move(status.error()).With(where));
    return status;
  }

  Status Place(const std::string& spelling, int32_t id) {
    TokenTable& table = out_.table;
    if (static_cast<size_t>(id) >= table.bytes.size()) {
      table.bytes.resize(static_cast<size_t>(id) + 1);
      table.special.resize(table.bytes.size());
    }
    table.bytes[static_cast<size_t>(id)] = spelling;
    table.ids.emplace(spelling, id);
    return {};
  }

  Status ParseVocab(const json& vocab) {
    if (type_ != "BPE" && type_ != "Unigram") {
      return Fail(ErrorCode::kUnimplemented, "the model \"" + type_ + "\" is not supported");
    }
    // Each token's id takes memory, so ids far beyond the number of tokens are refused.
    const int64_t limit = static_cast<int64_t>(vocab.size()) * 2 + 65536;
    out_.table.ids.reserve(vocab.size() + vocab.size() / 8);
    if (type_ == "Unigram") {
      if (!vocab.is_array()) return InvalidArgument("is not an array");
      if (static_cast<int64_t>(vocab.size()) >= kMaxTokens) return InvalidArgument("is too large");
      int32_t id = 0;
      for (const json& entry : vocab) {
        SLIP_RETURN_IF_ERROR(Place(entry.at(0).get_ref<const std::string&>(), id++));
      }
    } else {
      if (!vocab.is_object()) return InvalidArgument("is not an object");
      for (const auto& [spelling, value] : vocab.items()) {
        SLIP_ASSIGN_OR_RETURN(const int32_t id, CheckedId(value, "\"" + spelling + "\""));
        if (id > limit) {
          return InvalidArgument("\"" + spelling + "\" has the id " + std::to_string(id) +
                                 " in a vocabulary of " + std::to_string(vocab.size()));
        }
        SLIP_RETURN_IF_ERROR(Place(spelling, id));
      }
    }
    if (out_.table.ids.empty()) return InvalidArgument("is empty");
    for (const auto& [spelling, id] : out_.table.ids) {
      if (static_cast<size_t>(id) >= usable_.size()) usable_.resize(static_cast<size_t>(id) + 1);
      usable_[static_cast<size_t>(id)] = true;
    }
    return {};
  }

  Status ParseAdded(const json& tokens) {
    if (tokens.is_null()) return {};
    const int64_t limit = static_cast<int64_t>(out_.table.bytes.size() + tokens.size()) * 2 + 65536;
    for (const json& entry : tokens) {
      AddedToken token;
      token.text = entry.at("content").get<std::string>();
      SLIP_ASSIGN_OR_RETURN(token.id, CheckedId(entry.at("id"), "\"" + token.text + "\""));
      if (token.id > limit) {
        return InvalidArgument("\"" + token.text + "\" has the id " + std::to_string(token.id) +
                               " far beyond the vocabulary");
      }
      token.special = entry.value("special", false);
      token.single_word = entry.value("single_word", false);
      token.lstrip = entry.value("lstrip", false);
      token.rstrip = entry.value("rstrip", false);
      token.normalized = entry.value("normalized", !token.special);
      const auto known = out_.table.ids.find(token.text);
      if (known != out_.table.ids.end()) token.id = known->second;
      SLIP_RETURN_IF_ERROR(Place(token.text, token.id));
      if (token.special) out_.table.special[static_cast<size_t>(token.id)] = 1;
      added_.push_back(std::move(token));
    }
    return {};
  }

  // Tokens that are looked for after normalization are themselves normalized.
  Status PlaceAdded() {
    std::vector<AddedToken> raw, normalized;
    for (AddedToken& token : added_) {
      if (!token.normalized) {
        raw.push_back(std::move(token));
        continue;
      }
      SLIP_ASSIGN_OR_RETURN(token.text, ApplyAll(out_.pipeline.normalizers, token.text));
      normalized.push_back(std::move(token));
    }
    out_.pipeline.raw_added = AddedTokens(std::move(raw));
    out_.pipeline.normalized_added = AddedTokens(std::move(normalized));
    return {};
  }

  Status ParseBpe(const json& model) {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const json& value = Member(model, key);
      if (value.is_string() && !value.get_ref<const std::string&>().empty()) {
        return Fail(ErrorCode::kUnimplemented, std::string(key) + " is not supported");
      }
    }
    BpeOptions options;
    usable_.resize(out_.table.bytes.size());
    options.ignore_merges = model.value("ignore_merges", false);
    options.byte_fallback = model.value("byte_fallback", false);
    options.fuse_unk = model.value("fuse_unk", false);
    const json& unk = Member(model, "unk_token");
    if (unk.is_string()) {
      const auto it = out_.table.ids.find(unk.get_ref<const std::string&>());
      if (it != out_.table.ids.end()) options.unk_id = it->second;
    }
    out_.table.unk_id = options.unk_id;
    std::vector<ByteBpe::MergeRule> rules;
    const json& merges = model.at("merges");
    rules.reserve(merges.size());
    for (const json& merge : merges) {
      const int32_t rank = static_cast<int32_t>(rules.size());
      if (merge.is_array() && merge.size() == 2) {
        rules.push_back({merge.at(0).get_ref<const std::string&>(),
                         merge.at(1).get_ref<const std::string&>(), rank});
        continue;
      }
      const std::string_view text = merge.get_ref<const std::string&>();
      const size_t blank = text.find(' ');
      if (blank == std::string_view::npos || text.find(' ', blank + 1) != std::string_view::npos) {
        return InvalidArgument("merge " + std::to_string(rank) + " (\"" + std::string(text) +
                               "\") is not two tokens");
      }
      rules.push_back({text.substr(0, blank), text.substr(blank + 1), rank});
    }
    // Added tokens are not in the model's own vocabulary: text cannot merge into them.
    out_.pipeline.model =
        std::make_unique<ByteBpe>(out_.table.ids, std::move(usable_), rules, options);
    return {};
  }

  Status ParseUnigram(const json& model) {
    std::vector<UnigramPiece> pieces;
    for (const json& entry : model.at("vocab")) {
      pieces.push_back({entry.at(0).get<std::string>(), entry.at(1).get<double>()});
    }
    std::optional<int32_t> unk;
    if (!Member(model, "unk_id").is_null()) {
      SLIP_ASSIGN_OR_RETURN(unk, CheckedId(model.at("unk_id"), "unk_id"));
      if (static_cast<size_t>(*unk) >= pieces.size()) {
        return InvalidArgument("unk_id is not in the vocabulary");
      }
    }
    out_.table.unk_id = unk;
    out_.pipeline.model =
        std::make_unique<Unigram>(std::move(pieces), unk, model.value("byte_fallback", false));
    return {};
  }

  Status ParseTemplate(const json& post) {
    bool after = false;
    for (const json& item : post.at("single")) {
      if (item.contains("Sequence")) {
        after = true;
        continue;
      }
      const std::string name = item.at("SpecialToken").at("id").get<std::string>();
      const json& special = Member(Member(post, "special_tokens"), name.c_str());
      if (special.is_null()) return InvalidArgument("\"" + name + "\" is not in special_tokens");
      for (const json& value : special.at("ids")) {
        SLIP_ASSIGN_OR_RETURN(const int32_t id, CheckedId(value, "\"" + name + "\""));
        SLIP_RETURN_IF_ERROR(AddBorder(id, after));
      }
    }
    return {};
  }

  Status AddBorder(int32_t id, bool after) {
    if (static_cast<size_t>(id) >= out_.table.bytes.size()) {
      return InvalidArgument("id " + std::to_string(id) + " is not in the vocabulary");
    }
    (after ? out_.pipeline.suffix : out_.pipeline.prefix).push_back(id);
    return {};
  }

  Status ParsePost(const json& post, int depth) {
    if (post.is_null()) return {};
    if (depth > kMaxDecoderDepth) return InvalidArgument("is nested too deeply");
    const std::string type = post.at("type").get<std::string>();
    if (type == "TemplateProcessing") return ParseTemplate(post);
    if (type == "Sequence") {
      for (const json& step : post.at("processors")) {
        SLIP_RETURN_IF_ERROR(ParsePost(step, depth + 1));
      }
      return {};
    }
    if (type == "BertProcessing" || type == "RobertaProcessing") {
      SLIP_ASSIGN_OR_RETURN(const int32_t cls, CheckedId(post.at("cls").at(1), "cls"));
      SLIP_ASSIGN_OR_RETURN(const int32_t sep, CheckedId(post.at("sep").at(1), "sep"));
      SLIP_RETURN_IF_ERROR(AddBorder(cls, false));
      return AddBorder(sep, true);
    }
    if (type == "ByteLevel") return {};  // changes offsets, not ids
    return Fail(ErrorCode::kUnimplemented, "the step \"" + type + "\" is not supported");
  }

  Status ParseDecoder(const json& decoder, int depth) {
    if (decoder.is_null()) return {};
    if (depth > kMaxDecoderDepth) return InvalidArgument("is nested too deeply");
    const std::string type = decoder.at("type").get<std::string>();
    if (type == "Sequence") {
      for (const json& step : decoder.at("decoders")) {
        SLIP_RETURN_IF_ERROR(ParseDecoder(step, depth + 1));
      }
    } else if (type == "ByteLevel") {
      byte_level_ = true;
    } else if (type == "ByteFallback") {
      byte_fallback_ = true;
      out_.table.replace_each_bad_byte = true;
    } else if (type == "Metaspace") {
      replaces_.emplace_back(decoder.value("replacement", std::string("\xE2\x96\x81")), " ");
      out_.table.strip_leading_space = decoder.value("add_prefix_space", true) &&
                                       decoder.value("prepend_scheme", std::string()) != "never";
    } else if (type == "Replace") {
      const json& pattern = decoder.at("pattern");
      if (!pattern.contains("String")) {
        return Fail(ErrorCode::kUnimplemented, "a Replace by Regex is not supported");
      }
      replaces_.emplace_back(pattern.at("String").get<std::string>(),
                             decoder.at("content").get<std::string>());
    } else if (type == "Strip") {
      out_.table.strip_leading_space =
          decoder.value("content", std::string()) == " " && decoder.value("start", 0) > 0;
    } else if (type != "Fuse") {
      return Fail(ErrorCode::kUnimplemented, "the step \"" + type + "\" is not supported");
    }
    return {};
  }

  // From spellings to what the tokens add to output text.
  void FillBytes() {
    for (std::string& text : out_.table.bytes) {
      if (byte_level_) {
        if (auto bytes = byte_level::Decode(text)) text = std::move(*bytes);
        continue;
      }
      if (byte_fallback_ && text.size() == 6 && text.starts_with("<0x") && text[5] == '>') {
        char* end = nullptr;
        const long byte = std::strtol(text.c_str() + 3, &end, 16);
        if (end == text.c_str() + 5) {
          text.assign(1, static_cast<char>(byte));
          continue;
        }
      }
      for (const auto& [from, to] : replaces_) {
        if (from.empty()) continue;
        for (size_t at = text.find(from); at != std::string::npos;
             at = text.find(from, at + to.size())) {
          text.replace(at, from.size(), to);
        }
      }
    }
  }

  const json& root_;
  std::string type_;
  ParsedTokenizer out_;
  std::vector<bool> usable_;  // per id: in the vocabulary of the model
  std::vector<AddedToken> added_;
  bool byte_level_ = false, byte_fallback_ = false;
  std::vector<std::pair<std::string, std::string>> replaces_;
};

}  // namespace

Result<ParsedTokenizer> ParseTokenizerJson(std::string_view text) {
  try {
    const json root = json::parse(text);
    return Parser(root).Parse();
  } catch (const json::exception& e) {
    return InvalidArgument(e.what());
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kResourceExhausted, "no memory for the vocabulary");
  }
}

}  // namespace slipstream
