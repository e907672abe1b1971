#include "server/openai/chat_truncation.h"

#include <algorithm>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace slipstream {
namespace {

// Where the conversation may begin.
std::vector<size_t> TurnsOf(const Json& messages) {
  std::vector<size_t> turns;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i]["role"] == "user") turns.push_back(i);
  }
  return turns;
}

ChatInput From(const ChatInput& input, size_t first) {
  ChatInput shorter = input;
  shorter.messages = Json::array();
  for (size_t i = 0; i < input.messages.size(); ++i) {
    const Json& role = input.messages[i]["role"];
    if (i >= first || role == "system" || role == "developer") {
      shorter.messages.push_back(input.messages[i]);
    }
  }
  return shorter;
}

Result<bool> Fits(const Tokenizer& tokenizer, const std::string& text, int64_t max_tokens) {
  if (max_tokens < 0 || static_cast<int64_t>(tokenizer.MinTokens(text)) > max_tokens) return false;
  SLIP_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                        tokenizer.Encode(text, {.add_special_tokens = false,
                                                .parse_special = true,
                                                .max_tokens = static_cast<size_t>(max_tokens)}));
  return static_cast<int64_t>(ids.size()) <= max_tokens;
}

}  // namespace

Result<std::string> RenderWithin(const std::shared_ptr<const ChatTemplate>& chat_template,
                                 const ChatInput& input, const Tokenizer& tokenizer,
                                 int64_t max_tokens) {
  SLIP_ASSIGN_OR_RETURN(std::string best, RenderChatInput(chat_template, input));
  SLIP_ASSIGN_OR_RETURN(const bool fits, Fits(tokenizer, best, max_tokens));
  const std::vector<size_t> turns = TurnsOf(input.messages);
  if (fits || turns.size() < 2) return best;
  // The first of turns[1..] from which on all fits; the last one if none does.
  size_t low = 1, high = turns.size() - 1;
  SLIP_ASSIGN_OR_RETURN(best, RenderChatInput(chat_template, From(input, turns[high])));
  while (low < high) {
    const size_t middle = (low + high) / 2;
    SLIP_ASSIGN_OR_RETURN(std::string text,
                          RenderChatInput(chat_template, From(input, turns[middle])));
    SLIP_ASSIGN_OR_RETURN(const bool short_enough, Fits(tokenizer, text, max_tokens));
    if (short_enough) {
      high = middle;
      best = std::move(text);
    } else {
      low = middle + 1;
    }
  }
  return best;
}

}  // namespace slipstream
