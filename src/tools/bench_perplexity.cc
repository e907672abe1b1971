#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "runtime/local_executor.h"
#include "runtime/perplexity.h"
#include "tools/commands.h"
#include "tools/model_stack.h"
#include "tools/options.h"

namespace slipstream {
namespace {

struct State {
  ModelOptions model;
  EngineConfig engine;
  RuntimeConfig runtime;
  std::string text;
  int context = 512;
  int chunks = 0;
  std::vector<Option> options;
};

Status RunPerplexity(const State& s) {
  if (s.text.empty()) return InvalidArgument("--text FILE is needed", "text");
  std::error_code ignored;
  std::ifstream in(s.text, std::ios::binary);
  if (!in || std::filesystem::is_directory(s.text, ignored)) {
    return Fail(ErrorCode::kNotFound, s.text + ": cannot be read", "text");
  }
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  SLIP_ASSIGN_OR_RETURN(auto checkpoint, OpenCheckpoint(s.model.path, ToLoadOptions(s.model)));
  SLIP_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(*checkpoint));
  SLIP_ASSIGN_OR_RETURN(const auto ids, tokenizer->Encode(text));
  SLIP_ASSIGN_OR_RETURN(auto executor, MakeLocalExecutor(*checkpoint, s.engine, s.runtime));
  PerplexityOptions options;
  options.context = s.context;
  options.max_chunks = s.chunks;
  // A tokenizer that adds BOS has put it before the text.
  if (tokenizer->bos_id() && !ids.empty() && ids[0] == *tokenizer->bos_id()) {
    options.bos = tokenizer->bos_id();
  }
  options.progress = [](int chunk, double so_far) {
    std::fprintf(stderr, "\r[%d] %.4f  ", chunk, so_far);
  };
  SLIP_ASSIGN_OR_RETURN(const auto result, MeasurePerplexity(ids, *executor, options));
  std::printf("\nperplexity %.4f +- %.4f (%d chunks of %d tokens, %ld scored)\n", result.perplexity,
              result.uncertainty, result.chunks, s.context,
              static_cast<long>(result.scored_tokens));
  return {};
}

}  // namespace

void AddPerplexity(CLI::App& bench, Action* action) {
  auto state = std::make_shared<State>();
  CLI::App* command = bench.add_subcommand(
      "perplexity", "Perplexity of a text file, computed as llama-perplexity does");
  command->add_option("MODEL", state->model.path, "Folder or .gguf file")->required();
  state->options = {
      {"bench", "text", "Text file", &state->text},
      {"bench", "context", "Tokens in one chunk", &state->context, 8, 1e6},
      {"bench", "chunks", "Chunks to run (0: all)", &state->chunks, 0, 1e6},
  };
  AppendModelRunOptions(&state->options, &state->model, &state->engine, &state->runtime);
  AddOptions(*command, &state->options);
  command->callback([state, action] {
    *action = [state] {
      const Status status = RunPerplexity(*state);
      return status ? 0 : Report(status.error());
    };
  });
}

}  // namespace slipstream
