#include <csignal>
#include <memory>

#include "base/log.h"
#include "runtime/local_executor.h"
#include "runtime/remote_executor.h"
#include "tools/commands.h"
#include "tools/options.h"

namespace slipstream {
namespace {

struct State {
  ModelOptions model;
  EngineConfig engine;
  RuntimeConfig runtime;
  std::string listen = "127.0.0.1:9000";
  std::vector<Option> options;
};

TcpListener* signalled_listener = nullptr;
void OnSignal(int) { signalled_listener->Shutdown(); }

Status RunWorker(const State& state) {
  SLIP_ASSIGN_OR_RETURN(TcpListener listener, TcpListener::Listen(state.listen));
  SLIP_ASSIGN_OR_RETURN(auto checkpoint,
                        OpenCheckpoint(state.model.path, ToLoadOptions(state.model)));
  SLIP_ASSIGN_OR_RETURN(auto executor,
                        MakeLocalExecutor(*checkpoint, state.engine, state.runtime));
  checkpoint->ReleasePages();
  signalled_listener = &listener;
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
  LogInfo("worker for {} waits for a leader on port {}", state.model.path, listener.port());
  const Status ended = ServeWorker(listener, *executor);
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  return ended;
}

}  // namespace

void AddWorker(CLI::App& app, Action* action) {
  auto state = std::make_shared<State>();
  CLI::App* command = app.add_subcommand(
      "worker", "Run a model's steps for a `slipstream serve --worker` on another machine");
  command->add_option("MODEL", state->model.path, "Folder or .gguf file")->required();
  state->options = {{"worker", "listen",
                     "host:port to wait on. There is no authentication: keep it on a private "
                     "network", &state->listen}};
  for (auto table : {ModelOptionTable(&state->model), EngineOptionTable(&state->engine),
                     RuntimeOptionTable(&state->runtime)}) {
    for (Option& o : table) state->options.push_back(std::move(o));
  }
  AddOptions(*command, &state->options);
  command->callback([state, action] {
    *action = [state] {
      const Status status = RunWorker(*state);
      return status ? 0 : Report(status.error());
    };
  });
}

}  // namespace slipstream
