#include "tokenizer/pipeline_tokenizer.h"

#include <algorithm>
#include <new>
#include <utility>

#include "tokenizer/unicode.h"

namespace slipstream {

PipelineTokenizer::PipelineTokenizer(TokenTable table, Pipeline pipeline)
    : Tokenizer(std::move(table)), pipeline_(std::move(pipeline)) {
  bound_ = Bound();
}

// Every step's own limit, multiplied; none if one step has none.
TextBound PipelineTokenizer::Bound() const {
  bool raw_bytes = false;
  for (const auto& step : pipeline_.pre_tokenizers) {
    if (!step->keeps_text()) return {};
    raw_bytes = raw_bytes || step->gives_raw_bytes();
  }
  TextBound bound = pipeline_.model->Bound(table_.ids, raw_bytes);
  const size_t late = pipeline_.normalized_added.max_bytes();
  const size_t early = pipeline_.raw_added.max_bytes();
  if (bound.max_bytes == 0 || late == 0 || early == 0) return {};
  const bool some_vanish =
      std::find(bound.vanishing.begin(), bound.vanishing.end(), true) != bound.vanishing.end();
  bound.max_bytes = std::max(bound.max_bytes, late);
  for (const auto& step : pipeline_.normalizers) {
    if (some_vanish) return {};  // other bytes may turn into those
    bound.max_bytes *= step->max_shrink();
    if (bound.max_bytes == 0 || bound.max_bytes > kMaxEncodeBytes) return {};
  }
  bound.max_bytes = std::max(bound.max_bytes, early);
  return bound;
}

Result<std::vector<int32_t>> PipelineTokenizer::Encode(std::string_view text,
                                                       EncodeOptions options) const {
  if (text.size() > kMaxEncodeBytes) {
    return InvalidArgument("the text has " + std::to_string(text.size()) + " bytes, at most " +
                           std::to_string(kMaxEncodeBytes) + " can be tokenized at once");
  }
  try {
    std::string repaired;
    if (!unicode::IsValid(text)) text = repaired = unicode::ReplaceBroken(text);
    std::vector<int32_t> out;
    if (options.add_special_tokens) out = pipeline_.prefix;
    std::vector<AddedTokens::Part> parts;
    pipeline_.raw_added.Split(text, options.parse_special, parts);
    for (const AddedTokens::Part& part : parts) {
      if (out.size() > options.max_tokens) break;
      if (part.id >= 0) {
        out.push_back(part.id);
      } else {
        SLIP_RETURN_IF_ERROR(
            EncodeFragment(part.text, part.text.data() == text.data(), options, out));
      }
    }
    if (options.add_special_tokens) {
      out.insert(out.end(), pipeline_.suffix.begin(), pipeline_.suffix.end());
    }
    return out;
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kResourceExhausted, "no memory to tokenize the text");
  }
}

Status PipelineTokenizer::EncodeFragment(std::string_view text, bool at_start,
                                         const EncodeOptions& options,
                                         std::vector<int32_t>& out) const {
  SLIP_ASSIGN_OR_RETURN(const std::string normalized, ApplyAll(pipeline_.normalizers, text));
  std::vector<AddedTokens::Part> parts;
  pipeline_.normalized_added.Split(normalized, options.parse_special, parts);
  for (const AddedTokens::Part& part : parts) {
    if (part.id >= 0) {
      out.push_back(part.id);
      continue;
    }
    PreText pre;
    pre.text = part.text;
    pre.pieces.push_back({0, pre.text.size()});
    pre.at_start = at_start && part.text.data() == normalized.data();
    for (const auto& step : pipeline_.pre_tokenizers) SLIP_RETURN_IF_ERROR(step->Apply(pre));
    for (const PreText::Piece& piece : pre.pieces) {
      if (out.size() > options.max_tokens) return {};
      pipeline_.model->Encode(table_.ids, pre[piece], pre.raw_bytes, out);
    }
  }
  return {};
}

}  // namespace slipstream
