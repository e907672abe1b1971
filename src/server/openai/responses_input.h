// A /v1/responses request as the body of a chat request. Pure functions; the first bad field is the
// error, named as the client sent it where the field exists here only.
#pragma once

#include <optional>
#include <string>

#include "server/openai/field_reader.h"

namespace slipstream {

struct ResponsesInput {
  Json chat;                            // what ParseChatBody takes
  Json conversation = Json::array();    // messages without the instructions
  Json echo = Json::object();           // fields that the response repeats
  std::optional<std::string> previous;  // previous_response_id
  bool store = true;
  bool drop_oldest = false;  // truncation: auto
};

// Everything but the messages of the previous response.
Result<ResponsesInput> ReadResponsesInput(const Json& body);
// Completes the chat: instructions, the messages of the previous response, those of this one.
void PutMessages(const Json& previous, ResponsesInput* input);

}  // namespace slipstream
