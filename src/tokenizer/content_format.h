// What: finds out from a template's tree how it reads the content of messages.
// Owner: pure functions. Thread: any. Fails: never.
#pragma once

#include "tokenizer/jinja/ast.h"

namespace slipstream::jinja {

// Does a loop run over the content of the messages? (vLLM's test for content given as parts.)
bool LoopsOverContent(const Tree& tree);

// Does it test some `content` for being none?
bool TestsContentForNone(const Tree& tree);

}  // namespace slipstream::jinja
