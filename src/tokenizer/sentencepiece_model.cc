// The only file that includes sentencepiece's header: it declares absl::string_view and does not
// compile beside Abseil.
#include "tokenizer/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <utility>

#include "tokenizer/added_tokens.h"
#include "tokenizer/eog.h"
#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

constexpr std::string_view kBlank = "\xE2\x96\x81";  // U+2581

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
    if (!status.ok()) return InvalidArgument("sentencepiece: " + status.ToString());
    return std::make_shared<SentencePieceTokenizer>(std::move(processor), settings);
  } catch (const std::exception& e) {
    return InvalidArgument(std::string("sentencepiece: ") + e.what());
  }
}

}  // namespace slipstream
