// Tokens that end a generation, known by their spelling because files often name only one of them.
// Pure, any thread.
#pragma once

#include "tokenizer/tokenizer.h"

namespace slipstream {

// Fills table.eog_ids from EOS, the spellings in use and what is there already, and marks them all
// as special.
void FindEndOfGeneration(TokenTable& table);

}  // namespace slipstream
