#include "tools/bench_offline.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <mutex>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "runtime/local_executor.h"
#include "tools/model_stack.h"

namespace slipstream {
namespace {

// Collects the events of all sequences of one repetition.
struct Round {
  std::mutex mutex;
  std::condition_variable done;
  int running = 0;       // sequences without a terminal event
  int first_tokens = 0;  // sequences that have one
  int64_t tokens = 0;
  int64_t all_first_us = 0;  // when the last sequence got its first token
  int64_t tokens_at_all_first = 0;
  int64_t end_us = 0;
  std::string error;
};

class RoundSink : public EventSink {
 public:
  explicit RoundSink(Round* round) : round_(round) {}

  void OnEvents(std::span<TokenEvent> events) override {
    const int64_t now = NowUs();
    std::lock_guard lock(round_->mutex);
    for (const TokenEvent& e : events) {
      if (e.has_token) {
        ++round_->tokens;
        if (!std::exchange(started_, true) && --waiting() == 0) {
          round_->all_first_us = now;
          round_->tokens_at_all_first = round_->tokens;
        }
      }
      if (e.finish == FinishReason::kNone) continue;
      if (e.finish == FinishReason::kError) round_->error = e.error.message;
      if (e.finish == FinishReason::kAbort) round_->error = "a sequence was aborted";
      if (--round_->running == 0) {
        round_->end_us = now;
        round_->done.notify_all();
      }
    }
  }

 private:
  int& waiting() { return round_->first_tokens; }
  Round* round_;
  bool started_ = false;
};

// Runs `batch` sequences to their end; *start_us is when they were submitted.
Status RunRound(Engine& engine, int batch, int prompt_tokens, int gen_tokens, uint64_t seed,
                Round* round, int64_t* start_us) {
  auto params = std::make_shared<SamplingParams>();
  params->temperature = 0;
  params->max_tokens = gen_tokens;
  params->ignore_eos = true;
  round->running = batch;
  round->first_tokens = batch;
  const int64_t vocab = engine.info().vocab_size;
  std::vector<Request> requests(batch);
  for (int b = 0; b < batch; ++b) {
    requests[b].id = fmt::format("bench-{}", b);
    requests[b].params = params;
    requests[b].sink = std::make_shared<RoundSink>(round);
    for (int i = 0; i < prompt_tokens; ++i) {
      requests[b].prompt_ids.push_back(
          static_cast<int32_t>(MixBits(seed * 1000003 + b * 8191 + i) % vocab));
    }
  }
  *start_us = NowUs();
  for (Request& r : requests) SLIP_RETURN_IF_ERROR(engine.Submit(std::move(r)));
  std::unique_lock lock(round->mutex);
  round->done.wait(lock, [&] { return round->running == 0; });
  if (!round->error.empty()) return Internal(round->error);
  return {};
}

BenchRow Summarize(std::string test, const std::vector<double>& rates) {
  BenchRow row{std::move(test), 0, 0};
  for (const double r : rates) row.tok_s += r / rates.size();
  for (const double r : rates) row.deviation += (r - row.tok_s) * (r - row.tok_s) / rates.size();
  row.deviation = std::sqrt(row.deviation);
  return row;
}

Result<BenchRow> BenchPrompt(Engine& engine, const OfflineBenchOptions& o) {
  std::vector<double> rates;
  for (int rep = -1; rep < o.repetitions; ++rep) {  // -1 warms up
    Round round;
    int64_t start = 0;
    SLIP_RETURN_IF_ERROR(RunRound(engine, o.batch, o.prompt_tokens, 1, rep + 2, &round, &start));
    const double seconds = (round.end_us - start) * 1e-6;
    if (rep >= 0) rates.push_back(o.batch * static_cast<double>(o.prompt_tokens) / seconds);
  }
  return Summarize(
      fmt::format("pp{}{}", o.prompt_tokens, o.batch > 1 ? fmt::format("@{}", o.batch) : ""),
      rates);
}

// Tokens before the first decoded one.
int DecodePrompt(const OfflineBenchOptions& o) {
  if (o.depth > 0) return o.depth;
  return o.batch > 1 ? std::max(1, o.prompt_tokens) : 1;
}

// All sequences must run at once from start to end, or the rates mean something else.
Status CheckBatchFits(const OfflineBenchOptions& o, const ExecutorInfo& info) {
  if (o.batch > info.max_num_seqs) {
    return InvalidArgument(
        fmt::format("--batch {} does not run at once: a step takes {} sequences (--max-num-seqs, "
                    "--max-batch-tokens)",
                    o.batch, info.max_num_seqs),
        "batch");
  }
  const int64_t longest = std::max(o.prompt_tokens > 0 ? o.prompt_tokens + 1 : 0,
                                   o.gen_tokens > 0 ? DecodePrompt(o) + o.gen_tokens + 1 : 0);
  const int64_t block = info.block_size_tokens;
  const int64_t blocks = o.batch * ((longest + block - 1) / block);
  if (blocks > info.num_blocks) {
    return InvalidArgument(
        fmt::format("--batch {} with {} tokens each needs {} KV blocks of {} tokens, there are {}: "
                    "raise --num-blocks or --kv-cache-bytes",
                    o.batch, longest, blocks, block, info.num_blocks),
        "num_blocks");
  }
  return {};
}

// Rate between the moment when every sequence has its first token and the last token of all.
Result<BenchRow> BenchDecode(Engine& engine, const OfflineBenchOptions& o) {
  std::vector<double> rates;
  const int prompt = DecodePrompt(o);
  for (int rep = -1; rep < o.repetitions; ++rep) {
    Round round;
    int64_t start = 0;
    SLIP_RETURN_IF_ERROR(
        RunRound(engine, o.batch, prompt, o.gen_tokens + 1, rep + 77, &round, &start));
    const double seconds = (round.end_us - round.all_first_us) * 1e-6;
    if (rep >= 0) rates.push_back((round.tokens - round.tokens_at_all_first) / seconds);
  }
  std::string test = fmt::format("tg{}", o.gen_tokens);
  if (o.batch > 1) test += fmt::format("@{}", o.batch);
  if (o.depth > 0) test += fmt::format("@d{}", o.depth);
  return Summarize(std::move(test), rates);
}

std::string CpuModel() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

Status AppendCsv(const OfflineBenchOptions& o, const Checkpoint& checkpoint,
                 const std::vector<BenchRow>& rows) {
  std::ofstream out(o.csv, std::ios::app);
  if (!out) return InvalidArgument(fmt::format("{}: cannot be written", o.csv), "csv");
  char date[16];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  const std::string file = o.model.path.substr(o.model.path.find_last_of('/') + 1);
  for (const BenchRow& r : rows) {
    out << fmt::format("{},{},{},{},{},{},slipstream,{},{:.1f}\n", date, o.commit, CpuModel(),
                       o.runtime.num_threads, file, MainDType(checkpoint), r.test, r.tok_s);
  }
  return {};
}

}  // namespace

Result<std::vector<BenchRow>> RunOfflineBench(const OfflineBenchOptions& o) {
  EngineConfig config = o.engine;
  config.enable_prefix_caching = false;  // repetitions must not find each other's blocks
  if (config.max_num_seqs == 0)
    config.max_num_seqs = std::max(EngineConfig().max_num_seqs, o.batch);
  config.max_queued_requests = std::max(config.max_queued_requests, o.batch);
  SLIP_ASSIGN_OR_RETURN(auto checkpoint, OpenCheckpoint(o.model.path, ToLoadOptions(o.model)));
  SLIP_ASSIGN_OR_RETURN(auto executor, MakeLocalExecutor(*checkpoint, config, o.runtime));
  const auto engine = MakeEngine(config, std::move(executor));
  SLIP_RETURN_IF_ERROR(CheckBatchFits(o, engine->info()));
  engine->Start();

  std::vector<BenchRow> rows;
  auto run = [&](auto bench) -> Status {
    SLIP_ASSIGN_OR_RETURN(BenchRow row, bench(*engine, o));
    rows.push_back(std::move(row));
    return {};
  };
  Status status;
  if (o.prompt_tokens > 0) status = run(BenchPrompt);
  if (status && o.gen_tokens > 0) status = run(BenchDecode);
  engine->Stop(NowUs());
  if (!status) return tl::unexpected(std::move(status).error());
  if (!o.csv.empty()) SLIP_RETURN_IF_ERROR(AppendCsv(o, *checkpoint, rows));

  std::printf("%-12s %12s %10s\n", "test", "tokens/s", "+-");
  for (const BenchRow& r : rows) {
    std::printf("%-12s %12.1f %10.1f\n", r.test.c_str(), r.tok_s, r.deviation);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("peak resident memory: %.0f MiB\n", usage.ru_maxrss / 1024.0);
  return rows;
}

}  // namespace slipstream
