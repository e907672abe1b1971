// The subcommands of `slipstream`. Each Add... declares its arguments on the parser and stores the
// action; main runs the one that was chosen. The only place that wires all layers together.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <span>

#include "base/result.h"
#include "config/option_table.h"

namespace slipstream {

// Set by the parse to the chosen command's action; returns the exit code.
using Action = std::function<int()>;

void AddServe(CLI::App& app, Action* action);
void AddBench(CLI::App& app, Action* action);
void AddPerplexity(CLI::App& bench, Action* action);
void AddLoad(CLI::App& app, Action* action);
void AddInspect(CLI::App& app, Action* action);
void AddWorker(CLI::App& app, Action* action);
void AddDevices(CLI::App& app, Action* action);

// One flag per option, grouped by section, plus --config FILE.json, which is applied first so that
// flags win over the file. `options` must outlive the parse.
void AddOptions(CLI::App& command, std::vector<Option>* options);

// Prints "error: ..." in one line to stderr; returns exit code 1.
int Report(const Error& error);

}  // namespace slipstream
