#include <fmt/core.h>
#include <pthread.h>

#include <csignal>
#include <ctime>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/host_memory.h"
#include "base/log.h"
#include "config/server_config.h"
#include "runtime/local_executor.h"
#include "runtime/remote_executor.h"
#include "server/parsing/output_forms.h"
#include "server/server.h"
#include "tokenizer/chat_template.h"
#include "tools/commands.h"
#include "tools/model_stack.h"
#include "tools/options.h"
#include "tools/signals.h"

namespace slipstream {
namespace {

struct State {
  ModelOptions model;
  EngineConfig engine;
  RuntimeConfig runtime;
  ServerConfig server;
  std::string model_name, chat_template_file, tokenizer, worker;
  std::string log_level = "info", log_format = "text";
  double drain_seconds = 30;
  double worker_timeout_seconds = 60;
  std::vector<Option> options;
};

std::vector<Option> ServeOptionTable(State* s) {
  ServerConfig& c = s->server;
  return {
      {"server", "host", "Address to listen on", &c.host},
      {"server", "port", "HTTP port (0: any free one)", &c.port, 0, 65535},
      {"server", "grpc_port", "gRPC port (0: no gRPC, -1: any free one)", &c.grpc_port, -1, 65535},
      {"server", "io_threads", "Threads that own connections (0: one, two from 8 cores on)",
       &c.io_threads, 0, 64},
      {"server", "tokenizer_threads", "Threads that render templates and encode prompts",
       &c.tokenizer_threads, 1, 64},
      {"server", "max_connections",
       "Open connections of HTTP, and as many of gRPC, before new ones are refused",
       &c.max_connections, 1, 1e6},
      {"server", "max_body_bytes", "Largest request body", &c.max_body_bytes, 1024, 1e10},
      {"server", "max_header_bytes", "Largest request header", &c.max_header_bytes, 1024, 1e7},
      {"server", "header_timeout_seconds", "Longest wait for a whole header",
       &c.header_timeout_seconds, 0.1, 3600},
      {"server", "body_timeout_seconds", "Longest wait for a whole body", &c.body_timeout_seconds,
       0.1, 3600},
      {"server", "idle_timeout_seconds",
       "Kept-alive connections without a request close after this", &c.idle_timeout_seconds, 0.1,
       86400},
      {"server", "write_timeout_seconds", "A client that reads nothing for so long is cut off",
       &c.write_timeout_seconds, 0.1, 86400},
      {"server", "keep_alive_comment_seconds", "Comment in a stream silent for so long (0: never)",
       &c.keep_alive_comment_seconds, 0, 3600},
      {"server", "stalled_engine_seconds",
       "/health fails when work waits and no step ends for this", &c.stalled_engine_seconds, 1,
       86400},
      {"server", "api_keys", "Accepted bearer keys (none: no key is asked for)", &c.api_keys},
      {"server", "api_keys_file", "JSON file of named keys and their limits; SIGHUP reads it again",
       &c.api_keys_file},
      {"server", "tls_cert",
       "PEM certificate chain: HTTP and gRPC speak TLS; SIGHUP reads it again", &c.tls_cert},
      {"server", "tls_key", "PEM private key of --tls-cert", &c.tls_key},
      {"server", "max_queued_tokens",
       "Prompt tokens waiting before new requests get 429 (0: no limit)", &c.max_queued_tokens, 0,
       1e15},
      {"server", "request_timeout_seconds",
       "Longest a request may take; clients may ask for less (0: no limit)",
       &c.request_timeout_seconds, 0, 86400},
      {"server",
       "metrics_compat",
       "Metric names of another engine beside ours in /metrics",
       &c.metrics_compat,
       0,
       0,
       {"none", "vllm"}},
      {"server", "page", "A page with a chat and live figures at /", &c.page},
      {"server", "cors", "Allow browsers of any origin", &c.cors},
      {"server",
       "tool_parser",
       "Form of the model's tool calls (auto: from the chat template)",
       &c.tool_parser,
       0,
       0,
       {std::begin(kToolParsers), std::end(kToolParsers)}},
      {"server",
       "reasoning_parser",
       "Form of the model's reasoning (auto: from the chat template)",
       &c.reasoning_parser,
       0,
       0,
       {std::begin(kReasoningParsers), std::end(kReasoningParsers)}},
      {"server",
       "pooling",
       "Which states make an embedding (auto: as the model's files say, else the last token's)",
       &c.pooling,
       0,
       0,
       {"auto", "last", "mean"}},
      {"server", "strict_fields", "Refuse requests with unknown fields", &c.strict_fields},
      {"server", "model_name", "Name clients use (empty: the file's)", &s->model_name},
      {"server", "chat_template_file", "Jinja file instead of the model's template",
       &s->chat_template_file},
      {"server", "tokenizer", "Folder or file of the tokenizer (empty: the model's)",
       &s->tokenizer},
      {"server", "drain_seconds", "Running requests may finish for so long after SIGTERM",
       &s->drain_seconds, 0, 86400},
      {"server", "worker", "host:port of a `slipstream worker` that runs the steps (empty: here)",
       &s->worker},
      {"server", "worker_timeout_seconds",
       "A worker silent for so long in one step is lost, and its requests fail",
       &s->worker_timeout_seconds, 0.1, 86400},
      {"log",
       "log_level",
       "Least level to log",
       &s->log_level,
       0,
       0,
       {"debug", "info", "warning", "error", "off"}},
      {"log", "log_requests", "A line for every request", &s->server.log_requests},
      {"log", "log_format", "Form of log lines", &s->log_format, 0, 0, {"text", "json"}},
  };
}

void StartLog(const State& s) {
  const LogLevel level = s.log_level == "debug"     ? LogLevel::kDebug
                         : s.log_level == "warning" ? LogLevel::kWarning
                         : s.log_level == "error"   ? LogLevel::kError
                         : s.log_level == "off"     ? LogLevel::kOff
                                                    : LogLevel::kInfo;
  InitLog(level, s.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
}

std::string DefaultName(const std::string& path) {
  const std::filesystem::path p = std::filesystem::path(path).lexically_normal();
  return p.extension() == ".gguf" ? p.stem().string()
         : p.has_filename()       ? p.filename().string()
                                  : p.parent_path().filename().string();
}

struct Backing {
  std::unique_ptr<Executor> executor;
  std::string summary;  // where steps run, dtype and memory
};

Result<Backing> MakeBacking(const State& s, const Checkpoint& checkpoint) {
  if (!s.worker.empty()) {
    SLIP_ASSIGN_OR_RETURN(auto remote,
                          ConnectRemoteExecutor(s.worker, 60, s.worker_timeout_seconds));
    return Backing{std::move(remote), fmt::format("worker at {}", s.worker)};
  }
  SLIP_ASSIGN_OR_RETURN(auto local, MakeLocalExecutor(checkpoint, s.engine, s.runtime));
  const LocalExecutorStats stats = local->stats();
  std::string summary = fmt::format("{}, KV cache {} {:.1f} MiB", stats.backend, stats.kv_dtype,
                                    stats.kv_cache_bytes / 1048576.0);
  return Backing{std::move(local), std::move(summary)};
}

void PrintTemplate(const State& s, const TextStack& text) {
  const std::string source = text.chat_template ? text.chat_template->source() : "";
  const OutputForms forms =
      ChooseOutputForms(s.server.tool_parser, s.server.reasoning_parser, source)
          .value_or(OutputForms());
  std::printf("template   %s; tool calls %s, reasoning %s\n", text.template_source.c_str(),
              std::string(NameOf(forms.tools)).c_str(),
              forms.reasons() ? forms.think_open.c_str() : "none");
}

void PrintSummary(const State& s, const Checkpoint& checkpoint, const std::string& backing,
                  const ExecutorInfo& info, const TextStack& text, const Server& server,
                  int64_t start_us) {
  size_t bytes = 0;
  for (const CheckpointTensor& t : checkpoint.tensors()) bytes += t.bytes;
  const ModelConfig& m = checkpoint.config();
  std::printf("model      %s (%s, %ld layers, %s, %.1f MiB of %s)\n", s.model_name.c_str(),
              m.architecture.c_str(), static_cast<long>(m.num_layers),
              std::string(checkpoint.format()).c_str(), bytes / 1048576.0,
              MainDType(checkpoint).c_str());
  std::printf("runs on    %s\n", backing.c_str());
  std::printf("KV blocks  %ld of %d tokens = %ld tokens; context %ld, %d sequences a step\n",
              static_cast<long>(info.num_blocks), info.block_size_tokens,
              static_cast<long>(info.num_blocks * info.block_size_tokens),
              static_cast<long>(info.max_model_len), info.max_num_seqs);
  PrintTemplate(s, text);
  std::printf("memory     %s of the host\n", Describe(ReadHostMemory()).c_str());
  if (server.grpc_port() != 0)
    std::printf("gRPC       %s:%d\n", s.server.host.c_str(), server.grpc_port());
  std::printf("ready in   %.2f s\n", (NowUs() - start_us) * 1e-6);
  std::printf("listening on %s://%s:%d\n", s.server.tls_cert.empty() ? "http" : "https",
              s.server.host.c_str(), server.http_port());
  std::fflush(stdout);
}

// SIGHUP reads keys and certificate again. A server without either is ended by it as any program
// is: its terminal is gone.
int WaitForStop(sigset_t signals, const ServerConfig& config, Server& server) {
  if (!config.api_keys_file.empty() || !config.tls_cert.empty()) sigaddset(&signals, SIGHUP);
  while (true) {
    int signal = 0;
    sigwait(&signals, &signal);
    if (signal != SIGHUP) return signal;
    if (const Status reloaded = server.Reload(); !reloaded) {
      LogError("SIGHUP: {}; what was in use stays", reloaded.error().message);
    } else {
      LogInfo("SIGHUP: keys and certificate were read again");
    }
  }
}

Status RunServe(State& s) {
  const int64_t start_us = NowUs();
  // Blocked before any thread starts, so that none is interrupted by it.
  if (!s.server.api_keys_file.empty() || !s.server.tls_cert.empty()) {
    sigset_t reload;
    sigemptyset(&reload);
    sigaddset(&reload, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &reload, nullptr);
  }
  const sigset_t stop_signals = BlockStopSignals();
  std::optional<QuitOnStopSignal> starting(std::in_place, stop_signals);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a log that reached the limit of a file's size
  StartLog(s);
  if (s.model_name.empty()) s.model_name = DefaultName(s.model.path);

  SLIP_ASSIGN_OR_RETURN(auto checkpoint, OpenCheckpoint(s.model.path, ToLoadOptions(s.model)));
  LogHostMemory("opening the checkpoint");
  SLIP_ASSIGN_OR_RETURN(const TextStack text,
                        OpenTextStack(*checkpoint, s.chat_template_file, s.tokenizer));
  LogHostMemory("the tokenizer");
  SLIP_ASSIGN_OR_RETURN(Backing backing, MakeBacking(s, *checkpoint));
  const ExecutorInfo info = backing.executor->info();
  const auto engine = MakeEngine(s.engine, std::move(backing.executor));
  engine->Start();

  s.server.max_queued_requests = s.engine.max_queued_requests;
  s.server.prefix_caching = s.engine.enable_prefix_caching;
  ModelInfo model;
  model.name = s.model_name;
  model.created = std::time(nullptr);
  model.max_model_len = info.max_model_len;
  model.root = s.model.path;
  model.pooling = checkpoint->config().pooling;
  auto server = Server::Start(s.server, model, text.tokenizer, text.chat_template, *engine);
  if (!server) {
    engine->Stop(NowUs());
    return tl::unexpected(std::move(server).error());
  }
  // From the moment the summary says that we listen, a signal drains instead of ending a start.
  starting.reset();
  PrintSummary(s, *checkpoint, backing.summary, info, text, **server, start_us);
  checkpoint.reset();  // everything is in the backend: files may be replaced

  const int signal = WaitForStop(stop_signals, s.server, **server);
  LogInfo("{}: draining for up to {} s", signal == SIGINT ? "SIGINT" : "SIGTERM", s.drain_seconds);
  // A second signal ends the process at once.
  pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);
  constexpr double kStepGraceSeconds = 10;
  const ExitDeadline deadline(s.drain_seconds + kStepGraceSeconds);
  (*server)->BeginDrain(s.drain_seconds);
  (*server)->Wait();
  engine->Stop(NowUs());
  (*server)->Stop();
  LogInfo("stopped");
  if (engine->metrics().failed) {
    return Fail(ErrorCode::kUnavailable, "the device or worker was lost while serving");
  }
  return {};
}

}  // namespace

void AddServe(CLI::App& app, Action* action) {
  auto state = std::make_shared<State>();
  CLI::App* command =
      app.add_subcommand("serve", "Serve MODEL over OpenAI-compatible HTTP and gRPC");
  command->add_option("MODEL", state->model.path, "Hugging Face folder or .gguf file")->required();
  state->options = ServeOptionTable(state.get());
  AppendModelRunOptions(&state->options, &state->model, &state->engine, &state->runtime);
  AddOptions(*command, &state->options);
  command->callback([state, action] {
    *action = [state] {
      const Status status = RunServe(*state);
      return status ? 0 : Report(status.error());
    };
  });
}

}  // namespace slipstream
