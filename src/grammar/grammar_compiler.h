// Compiles grammars for one vocabulary on threads of its own, never on the caller's, and keeps the
// latest. Owned by the server; Compile may be called from any thread and does not wait. The
// threads, and the sorted vocabulary they share, exist from the first request with a grammar on.
//
// Each compile has a deadline. When one passes it, its caller gets its error, the source is refused
// without another try, and the thread is replaced, up to a limit. What such a thread finds in some
// more seconds is used; after these it is stopped, and the source stays refused. kInvalidArgument,
// naming the request's field: what is wrong with the source, or that it takes too long or too much
// memory. kResourceExhausted: too much to compile at once.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "base/result.h"
#include "base/token_constraint.h"
#include "grammar/grammar_source.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {

struct GrammarCompilerOptions {
  int num_threads = 2;  // compiling at once; the first use of a vocabulary takes about 0.2 s
  double deadline_seconds = 10;
  double late_seconds = 20;  // until a compile over its deadline is stopped
  int max_waiting = 64;      // distinct sources
  int max_late_threads = 4;  // that are over their deadline
  size_t max_source_bytes = size_t{256} << 10;
  size_t max_cached_bytes = size_t{256} << 20;  // of compiled grammars no request holds
};

class GrammarCompiler {
 public:
  using Compiled = Result<std::shared_ptr<const TokenConstraint>>;
  using Done = std::function<void(Compiled)>;

  // `vocab_size` is the model's; ids from tokenizer->vocab_size() on are never allowed.
  GrammarCompiler(std::shared_ptr<const Tokenizer> tokenizer, int64_t vocab_size,
                  GrammarCompilerOptions options = {});
  // Stop, and waits for compiles in hand that are within their deadline.
  ~GrammarCompiler();
  GrammarCompiler(const GrammarCompiler&) = delete;
  GrammarCompiler& operator=(const GrammarCompiler&) = delete;

  // Calls `done` exactly once, unless the compiler is stopped before: at once when the answer is
  // known, else on a thread of the compiler's, which it must not hold up.
  void Compile(const GrammarSource& source, Done done);
  // Drops what waits; no `done` is called or running from its return on. Not from within one.
  void Stop();

 private:
  class Shared;
  std::shared_ptr<Shared> shared_;
};

// What can be told of a source without compiling it: its size, and how deep it nests.
Status CheckGrammarSource(const GrammarSource& source, size_t max_bytes);

}  // namespace slipstream
