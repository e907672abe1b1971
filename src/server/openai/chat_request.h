// A chat request as native types. Other APIs are translated into the body of a chat request and
// read by the same function. Pure; any thread; the first bad field is the error.
#pragma once

#include "base/result.h"
#include "server/generation.h"
#include "server/openai/chat_answer.h"
#include "server/openai/common_params.h"
#include "server/openai/field_reader.h"
#include "server/service.h"

namespace slipstream {

struct ParsedChat {
  GenerateRequest request;
  ResponseOptions options;
  ChatAnswerOptions answer;
};

// With `drop_oldest` a conversation that is too long for the model loses its oldest turns.
Result<ParsedChat> ParseChatBody(const Service& service, const Json& body,
                                 bool drop_oldest = false);

}  // namespace slipstream
