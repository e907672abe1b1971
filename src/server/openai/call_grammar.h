// Grammars of tool calls: what a model's form allows around arguments that fit the tools' schemas.
// Pure functions, any thread. What a schema has wrong shows when the grammar is compiled.
#pragma once

#include <optional>

#include "grammar/grammar_source.h"
#include "server/openai/chat_render.h"

namespace slipstream {

// Of an answer that is calls and nothing else, from behind OpeningOfCall(choice.only_name()) on.
// REQUIRES: input.tool_choice.forced() and a form that is not kNone
GrammarSource GrammarOfForcedCalls(const ChatInput& input, const OutputForms& forms,
                                   const Tokenizer& tokenizer);

// Of text with calls in it, where a tool says `strict`; nothing where none does, or where the mark
// of a call is a special token, which text under a grammar cannot have.
std::optional<GrammarSource> GrammarOfStrictCalls(const ChatInput& input, const OutputForms& forms,
                                                  const Tokenizer& tokenizer);

}  // namespace slipstream
