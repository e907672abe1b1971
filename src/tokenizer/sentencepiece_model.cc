// The only file that includes sentencepiece's header: it declares absl::string_view and does not
// compile beside Abseil.
#include "tokenizer/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <utility>

#include "tokenizer/added_tokens.h"
#include "tokenizer/eog.h"
#include "tokenizer/scored_vocab.h"
#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

constexpr std::string_view kBlank = "\xE2\x96\x81";  // U+2581

// What decides whether a model is plain byte pair encoding; defaults of sentencepiece_model.proto.
struct Spec {
  uint64_t model_type = 1;  // 1: unigram, 2: BPE
  bool whitespace_as_suffix = false;
  bool has_charsmap = false;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  std::vector<int32_t> piece_types;  // the values of GgufTokenType

  bool IsPlainBpe() const {
    return model_type == 2 && !whitespace_as_suffix && !has_charsmap && !remove_extra_whitespaces &&
           escape_whitespaces;
  }
};

// Fields of a serialized Protobuf message, one after another. The library has checked the message.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}

  bool Next() {
    uint64_t tag = 0;
    if (!Varint(tag)) return false;
    number = tag >> 3;
    varint = 0;
    content = {};
    switch (tag & 7) {
      case 0:
        return Varint(varint);
      case 1:
        return Take(8);
      case 2: {
        uint64_t size = 0;
        return Varint(size) && Take(size);
      }
      case 5:
        return Take(4);
      default:
        return false;
    }
  }

  uint64_t number = 0, varint = 0;
  std::string_view content;

 private:
  bool Varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const uint8_t byte = static_cast<uint8_t>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool Take(uint64_t size) {
    if (size > bytes_.size()) return false;
    content = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return true;
  }

  std::string_view bytes_;
};

Spec SpecOf(std::string_view proto) {
  Spec spec;
  for (Fields model(proto); model.Next();) {
    if (model.number == 1) {  // pieces
      int32_t type = static_cast<int32_t>(GgufTokenType::kNormal);
      for (Fields piece(model.content); piece.Next();) {
        if (piece.number == 3) type = static_cast<int32_t>(piece.varint);
      }
      spec.piece_types.push_back(type);
    } else if (model.number == 2) {  // trainer_spec
      for (Fields trainer(model.content); trainer.Next();) {
        if (trainer.number == 3) spec.model_type = trainer.varint;
        if (trainer.number == 24) spec.whitespace_as_suffix = trainer.varint != 0;
      }
    } else if (model.number == 3) {  // normalizer_spec
      for (Fields normalizer(model.content); normalizer.Next();) {
        if (normalizer.number == 2) spec.has_charsmap = !normalizer.content.empty();
        if (normalizer.number == 3) spec.add_dummy_prefix = normalizer.varint != 0;
        if (normalizer.number == 4) spec.remove_extra_whitespaces = normalizer.varint != 0;
        if (normalizer.number == 5) spec.escape_whitespaces = normalizer.varint != 0;
      }
    }
  }
  return spec;
}

// A plain BPE model (Llama 2, Mistral, Gemma) on our own merges: the same ids, ten times as fast.
Result<std::shared_ptr<const Tokenizer>> MakeOwn(
    const sentencepiece::SentencePieceProcessor& processor, const Spec& spec,
    const HfSettings& settings) {
  GgufVocab vocab;
  vocab.model = "llama";
  const auto named = [&](const std::string& token, int id) -> std::optional<int32_t> {
    const int found = token.empty() ? id : processor.PieceToId(token);
    const int chosen = found >= 0 && found != processor.unk_id() ? found : id;
    return chosen >= 0 && chosen < processor.GetPieceSize() ? std::optional<int32_t>(chosen)
                                                            : std::nullopt;
  };
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    vocab.tokens.push_back(processor.IdToPiece(id));
    vocab.scores.push_back(processor.GetScore(id));
  }
  vocab.token_types = spec.piece_types;
  vocab.bos_id = named(settings.bos_token, processor.bos_id());
  vocab.eos_id = named(settings.eos_token, processor.eos_id());
  vocab.unk_id = named("", processor.unk_id());
  vocab.add_bos = settings.add_bos.value_or(true);
  vocab.add_eos = settings.add_eos.value_or(false);
  vocab.add_space_prefix = spec.add_dummy_prefix;
  vocab.chat_template = settings.chat_template;
  return MakeTokenizerFromVocab(
      vocab, {.user_defined_after_normalizer = true, .eog_ids = settings.eos_ids});
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<sentencepiece::SentencePieceProcessor> processor,
                         const HfSettings& settings)
      : processor_(std::move(processor)) {
    FillTable();
    const auto valid = [&](int id) {
      return id >= 0 && id < vocab_size() ? std::optional<int32_t>(id) : std::nullopt;
    };
    table_.bos_id = valid(processor_->bos_id());
    table_.eos_id = valid(processor_->eos_id());
    table_.unk_id = valid(processor_->unk_id());
    if (auto id = FindToken(settings.bos_token)) table_.bos_id = id;
    if (auto id = FindToken(settings.eos_token)) table_.eos_id = id;
    for (const int32_t id : settings.eos_ids) {
      if (valid(id)) table_.eog_ids.push_back(id);
    }
    table_.chat_template = settings.chat_template;
    add_bos_ = settings.add_bos.value_or(true);
    add_eos_ = settings.add_eos.value_or(false);
    FindEndOfGeneration(table_);
  }

  Result<std::vector<int32_t>> Encode(std::string_view text, EncodeOptions options) const override {
    if (text.size() > kMaxEncodeBytes) {
      return InvalidArgument("the text has " + std::to_string(text.size()) + " bytes, at most " +
                             std::to_string(kMaxEncodeBytes) + " can be tokenized at once");
    }
    try {
      std::string repaired;
      if (!unicode::IsValid(text)) text = repaired = unicode::ReplaceBroken(text);
      std::vector<int32_t> out;
      if (options.add_special_tokens && add_bos_ && table_.bos_id) out.push_back(*table_.bos_id);
      std::vector<AddedTokens::Part> parts;
      specials_.Split(text, options.parse_special, parts);
      for (const AddedTokens::Part& part : parts) {
        if (part.id >= 0) {
          out.push_back(part.id);
          continue;
        }
        std::vector<int> ids;
        const auto status = processor_->Encode({part.text.data(), part.text.size()}, &ids);
        if (!status.ok()) return Internal("sentencepiece: " + status.ToString());
        out.insert(out.end(), ids.begin(), ids.end());
      }
      if (options.add_special_tokens && add_eos_ && table_.eos_id) out.push_back(*table_.eos_id);
      return out;
    } catch (const std::exception& e) {
      return Fail(ErrorCode::kResourceExhausted, std::string("sentencepiece: ") + e.what());
    }
  }

 private:
  void FillTable() {
    const int size = processor_->GetPieceSize();
    std::vector<AddedToken> specials;
    for (int id = 0; id < size; ++id) {
      const std::string& piece = processor_->IdToPiece(id);
      const bool special = processor_->IsControl(id) || processor_->IsUnknown(id);
      table_.bytes.push_back(TextOf(id, piece, special));
      table_.special.push_back(special);
      table_.ids.emplace(piece, id);
      if (processor_->IsControl(id) && unicode::IsValid(piece)) {
        AddedToken token;
        token.text = piece;
        token.id = id;
        token.special = true;
        specials.push_back(std::move(token));
      }
    }
    specials_ = AddedTokens(std::move(specials));
    table_.replace_each_bad_byte = true;
    // Whether the model puts a blank before a text shows in how it encodes one.
    std::vector<std::string> pieces;
    table_.strip_leading_space =
        processor_->Encode("a", &pieces).ok() && !pieces.empty() && pieces[0].starts_with(kBlank);
  }

  std::string TextOf(int id, const std::string& piece, bool special) const {
    if (special) return piece;
    if (processor_->IsByte(id) && piece.size() == 6) {
      return std::string(1, static_cast<char>(std::strtol(piece.c_str() + 3, nullptr, 16)));
    }
    std::string text = piece;
    for (size_t at = text.find(kBlank); at != std::string::npos; at = text.find(kBlank, at)) {
      text.replace(at++, kBlank.size(), " ");
    }
    return text;
  }

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  AddedTokens specials_;
  bool add_bos_ = true, add_eos_ = false;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> MakeSentencePieceTokenizer(const std::string& proto,
                                                                    const HfSettings& settings) {
  try {
    auto processor = std::make_unique<sentencepiece::SentencePieceProcessor>();
    const auto status = processor->LoadFromSerializedProto({proto.data(), proto.size()});
    if (status.code() == sentencepiece::util::StatusCode::kInternal) {  // says where in its source
      return InvalidArgument("not a SentencePiece model, truncated or corrupted");
    }
    if (!status.ok()) return InvalidArgument(std::string("sentencepiece: ") + status.message());
    const Spec spec = SpecOf(proto);
    if (spec.IsPlainBpe()) return MakeOwn(*processor, spec, settings);
    return std::make_shared<SentencePieceTokenizer>(std::move(processor), settings);
  } catch (const std::exception& e) {
    return InvalidArgument(std::string("sentencepiece: ") + e.what());
  }
}

}  // namespace slipstream
