#include <memory>

#include "tools/bench_offline.h"
#include "tools/bench_step.h"
#include "tools/commands.h"

namespace slipstream {
namespace {

struct OfflineState {
  OfflineBenchOptions bench;
  std::vector<Option> options;
};

void AddOffline(CLI::App& bench, Action* action) {
  auto state = std::make_shared<OfflineState>();
  OfflineBenchOptions& o = state->bench;
  CLI::App* command = bench.add_subcommand(
      "offline", "Tokens per second of the engine without a server, on random token ids");
  command->add_option("MODEL", o.model.path, "Folder or .gguf file")->required();
  command->add_option("--threads", o.runtime.num_threads, "The same as --num-threads")
      ->check(CLI::Range(0, UsableProcessors()));
  state->options = {
      {"bench", "prompt", "Prompt tokens of each sequence (0: no prompt test)", &o.prompt_tokens, 0,
       1e6},
      {"bench", "gen", "Output tokens of each sequence (0: no decode test)", &o.gen_tokens, 0, 1e6},
      {"bench", "batch", "Sequences at once, in both tests", &o.batch, 1, 4096},
      {"bench", "depth",
       "Tokens in the context when decoding starts (0: 1, or with --batch those of --prompt)",
       &o.depth, 0, 1e6},
      {"bench", "repetitions", "Timed repetitions after one that warms up", &o.repetitions, 1,
       1000},
      {"bench", "csv", "Append rows here", &o.csv},
      {"bench", "commit", "Commit in the rows", &o.commit},
  };
  AppendModelRunOptions(&state->options, &o.model, &o.engine, &o.runtime);
  o.engine.max_num_seqs = 0;
  for (Option& option : state->options) {
    if (option.key != "max_num_seqs") continue;
    option.min = 0;
    option.help += " (0: enough for --batch)";
  }
  AddOptions(*command, &state->options);
  command->callback([state, action] {
    *action = [state] {
      const auto rows = RunOfflineBench(state->bench);
      return rows ? 0 : Report(rows.error());
    };
  });
}

struct StepState {
  StepBenchOptions bench;
  std::vector<Option> options;
};

void AddStep(CLI::App& bench, Action* action) {
  auto state = std::make_shared<StepState>();
  StepBenchOptions& o = state->bench;
  CLI::App* command =
      bench.add_subcommand("step", "Time of one decode step, without scheduler and server");
  command->add_option("MODEL", o.model.path, "Folder or .gguf file")->required();
  command
      ->add_option("--shapes", o.shapes,
                   "BATCHxCONTEXT, or BATCHxCONTEXT:QUERIES for a chunk of a prompt; by commas. "
                   "By default 1x128 to 64x4096, as the model's context and the KV cache allow")
      ->delimiter(',');
  state->options = {
      {"bench", "steps", "Timed steps of each shape", &o.steps, 1, 1e6},
      {"bench", "profile", "Also time the ops of a step one by one", &o.profile},
      {"bench", "ceiling_gbs", "Memory bandwidth that the floor assumes", &o.ceiling_gbs, 1, 1e6},
      {"bench", "csv", "Append rows here", &o.csv},
      {"bench", "commit", "Commit in the rows", &o.commit},
  };
  AppendModelRunOptions(&state->options, &o.model, &o.engine, &o.runtime);
  AddOptions(*command, &state->options);
  command->callback([state, action] {
    *action = [state] {
      const auto rows = RunStepBench(state->bench);
      return rows ? 0 : Report(rows.error());
    };
  });
}

}  // namespace

void AddBench(CLI::App& app, Action* action) {
  CLI::App* bench = app.add_subcommand("bench", "Measure the engine on this machine");
  bench->require_subcommand(1);
  AddOffline(*bench, action);
  AddStep(*bench, action);
  AddPerplexity(*bench, action);
}

}  // namespace slipstream
