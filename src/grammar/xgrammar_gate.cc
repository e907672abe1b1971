// Compiled into the library's archive, whose files call it.
#include "xgrammar_gate.h"

#include <stdexcept>

namespace slipstream {

__thread GrammarGate* grammar_gate = nullptr;

GrammarGate::GrammarGate(const std::atomic<bool>* asked_to_stop) : stop(asked_to_stop) {
  grammar_gate = this;
}

GrammarGate::~GrammarGate() { grammar_gate = nullptr; }

void CloseGrammarGate(bool stopped) {
  throw std::runtime_error(stopped ? "it takes too long to compile"
                                   : "it is too complex: compiled it has more than 256 MiB");
}

}  // namespace slipstream
