// The one user of the xgrammar library: text and a vocabulary in, constraints out. Const after
// construction, any thread. Exceptions of the library are caught here; kInvalidArgument carries its
// reason, bounded in length. Source: Dong et al. 2024, "XGrammar: Flexible and Efficient Structured
// Generation Engine for Large Language Models".
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

#include "base/result.h"
#include "base/token_constraint.h"
#include "grammar/grammar_source.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {

struct CompiledConstraint {
  std::shared_ptr<const TokenConstraint> constraint;
  size_t bytes = 0;  // of memory, about
};

// For compiles that nobody stops.
inline const std::atomic<bool> kNeverStop{false};

class XGrammarEngine {
 public:
  virtual ~XGrammarEngine() = default;
  // Ends soon after `stop` became true, and when the result would be too large to keep.
  virtual Result<CompiledConstraint> Compile(const GrammarSource& source,
                                             const std::atomic<bool>& stop) const = 0;
};

Result<std::shared_ptr<const XGrammarEngine>> MakeXGrammarEngine(const Tokenizer& tokenizer,
                                                                 int64_t vocab_size);

}  // namespace slipstream
