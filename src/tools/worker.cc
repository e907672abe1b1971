#include <pthread.h>

#include <csignal>
#include <memory>
#include <optional>
#include <thread>

#include "base/log.h"
#include "runtime/local_executor.h"
#include "runtime/remote_executor.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/signals.h"

namespace slipstream {
namespace {

struct State {
  ModelOptions model;
  EngineConfig engine;
  RuntimeConfig runtime;
  std::string listen = "127.0.0.1:9000";
  std::vector<Option> options;
};

Status RunWorker(const State& state) {
  const sigset_t stop_signals = BlockStopSignals();
  std::optional<QuitOnStopSignal> starting(std::in_place, stop_signals);
  SLIP_ASSIGN_OR_RETURN(TcpListener listener, TcpListener::Listen(state.listen));
  SLIP_ASSIGN_OR_RETURN(auto checkpoint,
                        OpenCheckpoint(state.model.path, ToLoadOptions(state.model)));
  SLIP_ASSIGN_OR_RETURN(auto executor, MakeLocalExecutor(*checkpoint, state.engine, state.runtime));
  WorkerServer worker(std::move(listener), *executor);
  LogInfo("worker for {} waits for a leader on port {}", state.model.path, worker.port());
  starting.reset();
  // A thread waits for the signals; the steps run here, where the executor was made.
  std::thread stopper([&] {
    int signal = 0;
    sigwait(&stop_signals, &signal);
    worker.Stop();
  });
  const Status ended = worker.Serve();
  if (!ended) pthread_kill(stopper.native_handle(), SIGTERM);
  stopper.join();
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
                     "network",
                     &state->listen}};
  AppendModelRunOptions(&state->options, &state->model, &state->engine, &state->runtime);
  AddOptions(*command, &state->options);
  command->callback([state, action] {
    *action = [state] {
      const Status status = RunWorker(*state);
      return status ? 0 : Report(status.error());
    };
  });
}

}  // namespace slipstream
