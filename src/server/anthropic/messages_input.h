// A /v1/messages request as the body of a chat request. Pure; the first bad field is the error.
// Source: the Messages API of Anthropic's client packages.
#pragma once

#include "server/openai/field_reader.h"

namespace slipstream {

// `needs_limit`: max_tokens must be there.
Result<Json> ChatOfMessages(const Json& body, bool needs_limit);

}  // namespace slipstream
