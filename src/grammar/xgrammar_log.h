// What the xgrammar library says instead of failing: that it leaves out a part of a schema. Kept
// per thread, which is the one that calls the library.
#pragma once

#include <string>

namespace slipstream {

// The latest warning since the last call on this thread; empty when there was none.
std::string TakeXGrammarWarning();

}  // namespace slipstream
