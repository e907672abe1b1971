// Conversations that are too long for a model's context, shortened from their beginning. Pure
// functions; renders and tokenizes more than once, so for a tokenizer thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/openai/chat_render.h"

namespace slipstream {

// Renders `input` without as many of its oldest turns as it takes to fit into `max_tokens`. A turn
// is a message of the user's and what follows it; system and developer messages stay, and so does
// the last turn, whether it fits or not. Fails as RenderChatInput does.
Result<std::string> RenderWithin(const std::shared_ptr<const ChatTemplate>& chat_template,
                                 const ChatInput& input, const Tokenizer& tokenizer,
                                 int64_t max_tokens);

}  // namespace slipstream
