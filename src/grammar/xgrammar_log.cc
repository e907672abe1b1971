// What the xgrammar library calls instead of printing; compiled into its archive. Its errors stay
// the exceptions it catches itself or xgrammar_engine.cc does; its warnings about single requests
// are no business of the server's log, but of their clients.
#include "xgrammar_log.h"

#include <string>
#include <string_view>
#include <utility>

#include "support/logging.h"

namespace slipstream {
namespace {

thread_local std::string warning;
// An answer still fits one of the alternatives at least.
constexpr std::string_view kHarmless = "oneOf with overlapping";

}  // namespace

std::string TakeXGrammarWarning() { return std::exchange(warning, {}); }

}  // namespace slipstream

namespace xgrammar {

[[noreturn]] void LogFatalImpl(const std::string& file, int lineno, const std::string& message) {
  throw LogFatalError(file, lineno, message);
}

void LogMessageImpl(const std::string&, int, int level, const std::string& message) {
  if (level != XGRAMMAR_LOG_LEVEL_WARNING ||
      message.compare(0, slipstream::kHarmless.size(), slipstream::kHarmless) == 0)
    return;
  slipstream::warning = message;
}

}  // namespace xgrammar
