// The fields that ask for answers of a certain form: response_format of OpenAI, structured_outputs
// and guided_* of vLLM. Pure functions.
#pragma once

#include <optional>

#include "grammar/grammar_source.h"
#include "server/openai/field_reader.h"

namespace slipstream {

// The grammar that the answer must follow, if any; reader.status() tells of a wrong field, or of
// more than one. What the grammar itself is worth is found when it is compiled.
std::optional<GrammarSource> ReadStructuredOutput(FieldReader& reader);

}  // namespace slipstream
