#include <exception>

#include "base/log.h"
#include "tools/commands.h"

#ifndef SLIPSTREAM_VERSION
#define SLIPSTREAM_VERSION "unknown"
#endif

int main(int argc, char** argv) {
  using namespace slipstream;
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
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  }
  try {
    return action ? action() : 1;
  } catch (const std::exception& e) {  // allocation failure at start, above all
    return Report({ErrorCode::kInternal, e.what(), {}});
  }
}
