#include <memory>

#include "tools/commands.h"
#include "tools/load/load.h"

namespace slipstream {
namespace {

struct State {
  LoadConfig config;
  std::vector<Option> options;
};

std::vector<Option> OptionTable(LoadConfig* c) {
  WorkloadOptions& w = c->workload;
  return {
      {"target", "url", "Base URL of the server", &c->url},
      {"target", "model", "Model name to send (empty: none)", &c->model},
      {"target",
       "endpoint",
       "Completions with random token ids, or chat with words",
       &c->endpoint,
       0,
       0,
       {"completions", "chat"}},
      {"target", "api_key", "Sent as a bearer token", &c->api_key},
      {"target", "timeout_seconds", "Longest silence of a stream before it counts as failed",
       &c->timeout_seconds, 1, 86400},
      {"workload",
       "arrival",
       "closed: a fixed number of streams; poisson, fixed: by --rate; "
       "trace: by --trace",
       &w.arrival,
       0,
       0,
       {"closed", "poisson", "fixed", "trace"}},
      {"workload", "concurrency", "Streams at once; in an open loop the most that may be open",
       &c->concurrency, 1, 4096},
      {"workload", "rate", "Requests per second", &w.rate, 0, 1e6},
      {"workload", "trace", "CSV file: seconds,input_tokens,output_tokens", &w.trace},
      {"workload", "num_requests", "Requests in all", &w.num_requests, 1, 1e7},
      {"workload", "input_tokens",
       "Prompt tokens: N, uniform:LOW:HIGH, normal:MEAN:SD or "
       "lognormal:MEDIAN:SIGMA",
       &w.input_tokens},
      {"workload", "output_tokens", "Output tokens, the same forms", &w.output_tokens},
      {"workload", "vocab_size", "Random prompt ids lie below this", &c->vocab_size, 101, 1e7},
      {"workload", "seed", "Seed of lengths, arrivals and prompts", &w.seed, 0, 1.8e19},
      {"workload", "ignore_eos", "Ask for the full output length", &c->ignore_eos},
      {"output", "csv", "Append one row here", &c->csv},
      {"output", "json", "Write the report and every request here", &c->json},
      {"output", "engine", "Name of the engine in the row", &c->engine},
      {"output", "card", "Card or processor in the row", &c->card},
      {"output", "commit", "Commit in the row", &c->commit},
      {"output", "dtype", "Element type of the weights in the row", &c->dtype},
      {"output", "quiet", "No progress bar", &c->quiet},
  };
}

}  // namespace

void AddLoad(CLI::App& app, Action* action) {
  auto state = std::make_shared<State>();
  state->options = OptionTable(&state->config);
  CLI::App* command = app.add_subcommand(
      "load", "Drive any OpenAI-compatible server with requests; report throughput and latency");
  AddOptions(*command, &state->options);
  command->callback([state, action] {
    *action = [state] {
      const auto report = RunLoad(state->config);
      if (!report) return Report(report.error());
      return report->failed == 0 ? 0 : 1;
    };
  });
}

}  // namespace slipstream
