#include "server/openai/logprobs.h"

#include <set>
#include <string_view>

#include "server/json_text.h"

namespace slipstream {
namespace {

void AppendTokenFields(std::string* out, const Tokenizer& tokenizer, int32_t id, float logprob) {
  const std::string_view bytes = tokenizer.TokenBytes(id);
  out->append("{\"token\":");
  AppendJsonString(out, bytes);
  out->append(",\"logprob\":");
  AppendJsonFloat(out, logprob);
  out->append(",\"bytes\":[");
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out->push_back(',');
    AppendInt(out, static_cast<unsigned char>(bytes[i]));
  }
  out->push_back(']');
}

void AppendComma(std::string* out) {
  if (!out->empty()) out->push_back(',');
}

}  // namespace

void AppendChatLogprob(std::string* out, const Tokenizer& tokenizer, const SampledToken& token,
                       int num_top) {
  AppendTokenFields(out, tokenizer, token.token, token.logprob);
  out->append(",\"top_logprobs\":[");
  for (int i = 0; i < num_top && i < static_cast<int>(token.top.size()); ++i) {
    if (i > 0) out->push_back(',');
    AppendTokenFields(out, tokenizer, token.top[i].token, token.top[i].logprob);
    out->push_back('}');
  }
  out->append("]}");
}

void AppendPromptLogprobs(std::string* out, const Tokenizer& tokenizer,
                          const std::vector<SampledToken>& logprobs, int num_top) {
  const auto add = [&](int32_t id, float logprob, int rank) {
    out->push_back('"');
    AppendInt(out, id);
    out->append("\":{\"logprob\":");
    AppendJsonFloat(out, logprob);
    out->append(",\"rank\":");
    AppendInt(out, rank);
    out->append(",\"decoded_token\":");
    AppendJsonString(out, tokenizer.TokenBytes(id));
    out->push_back('}');
  };
  out->append("[null");
  for (const SampledToken& token : logprobs) {
    out->append(",{");
    add(token.token, token.logprob, token.rank);
    for (int i = 0; i < num_top && i < static_cast<int>(token.top.size()); ++i) {
      if (token.top[i].token == token.token) continue;
      out->push_back(',');
      add(token.top[i].token, token.top[i].logprob, i + 1);
    }
    out->push_back('}');
  }
  out->push_back(']');
}

void CompletionLogprobs::AddToken(int32_t token) {
  const std::string_view bytes = tokenizer_.TokenBytes(token);
  AppendComma(&tokens_);
  AppendJsonString(&tokens_, bytes);
  AppendComma(&offsets_);
  AppendInt(&offsets_, offset_);
  offset_ += static_cast<long long>(CountCodePoints(bytes));
}

void CompletionLogprobs::AddUnscored(int32_t token) {
  AddToken(token);
  AppendComma(&logprobs_);
  logprobs_ += "null";
  AppendComma(&tops_);
  tops_ += "null";
}

void CompletionLogprobs::Add(const SampledToken& token, int num_top) {
  AddToken(token.token);
  AppendComma(&logprobs_);
  AppendJsonFloat(&logprobs_, token.logprob);
  AppendComma(&tops_);
  tops_.push_back('{');
  // Different tokens may spell the same; an object must not have a key twice.
  std::set<std::string_view> shown;
  const auto add = [&](int32_t id, float logprob) {
    const std::string_view bytes = tokenizer_.TokenBytes(id);
    if (!shown.insert(bytes).second) return;
    if (shown.size() > 1) tops_.push_back(',');
    AppendJsonString(&tops_, bytes);
    tops_.push_back(':');
    AppendJsonFloat(&tops_, logprob);
  };
  for (int i = 0; i < num_top && i < static_cast<int>(token.top.size()); ++i) {
    add(token.top[i].token, token.top[i].logprob);
  }
  add(token.token, token.logprob);
  tops_.push_back('}');
}

void CompletionLogprobs::AppendTo(std::string* out) const {
  out->append("{\"tokens\":[").append(tokens_);
  out->append("],\"token_logprobs\":[").append(logprobs_);
  out->append("],\"top_logprobs\":[").append(tops_);
  out->append("],\"text_offset\":[").append(offsets_).append("]}");
}

void CompletionLogprobs::Clear() {
  tokens_.clear();
  logprobs_.clear();
  tops_.clear();
  offsets_.clear();
}

}  // namespace slipstream
