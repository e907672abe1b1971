// Prompts as the OpenAI API takes them: a string, strings, token ids or lists of these. Pure
// functions; reader.status() tells of a wrong one.
#pragma once

#include <cstddef>

#include "server/generation.h"
#include "server/openai/field_reader.h"

namespace slipstream {

// Reads the field `name` into request->prompts; more than `most` prompts are an error.
void ReadPrompts(FieldReader& reader, const char* name, int most, GenerateRequest* request);

}  // namespace slipstream
