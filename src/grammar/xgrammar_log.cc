// What the xgrammar library calls instead of printing; compiled into its archive. Its errors stay
// the exceptions it catches itself or xgrammar_engine.cc does; its warnings about single requests
// are no business of the server's log.
#include <string>

#include "support/logging.h"

namespace xgrammar {

[[noreturn]] void LogFatalImpl(const std::string& file, int lineno, const std::string& message) {
  throw LogFatalError(file, lineno, message);
}

void LogMessageImpl(const std::string&, int, int, const std::string&) {}

}  // namespace xgrammar
