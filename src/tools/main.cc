#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "base/log.h"
#include "tools/commands.h"

#ifndef SLIPSTREAM_VERSION
#define SLIPSTREAM_VERSION "unknown"
#endif

namespace slipstream {
namespace {

// "serv" of `slipstream serv`: CLI11 says only that a command is missing.
std::string UnknownCommand(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  if (at->get_require_subcommand_min() == 0) return {};
  const std::vector<std::string> rest = app.remaining(true);
  return rest.empty() ? std::string() : rest.front();
}

// Started without them, a model file or a client's connection would get their numbers, and what is
// printed with them.
void OpenStandardFiles() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) std::_Exit(1);
  }
}

}  // namespace
}  // namespace slipstream

int main(int argc, char** argv) {
  using namespace slipstream;
  OpenStandardFiles();
  CLI::App app{
      "Slipstream: serves open-weight language models over OpenAI-compatible HTTP and gRPC."};
  app.set_version_flag("--version", "slipstream " SLIPSTREAM_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer("`slipstream COMMAND --help` explains a command.");

  Action action;
  AddServe(app, &action);
  AddBench(app, &action);
  AddLoad(app, &action);
  AddInspect(app, &action);
  AddWorker(app, &action);
  AddDevices(app, &action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::RequiredError& e) {
    if (const std::string word = UnknownCommand(app); !word.empty()) {
      const char* kind = word.starts_with('-') ? "option" : "command";
      std::fprintf(stderr, "There is no %s %s\nRun with --help for more information.\n", kind,
                   word.c_str());
      return e.get_exit_code();
    }
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  }
  try {
    return action ? action() : 1;
  } catch (const std::exception& e) {  // allocation failure at start, above all
    return Report({ErrorCode::kInternal, e.what(), {}});
  }
}
