#include "tools/bench_step.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>
#include <utility>

#include "backend/devices.h"
#include "base/clock.h"
#include "runtime/local_executor.h"

namespace slipstream {
namespace {

constexpr int kWarmupSteps = 10;
constexpr const char* kStandardShapes[] = {"1x128",   "1x8192",  "8x1024",   "16x1024",
                                           "32x1024", "64x1024", "128x1024", "64x4096"};

Result<StepBenchRow> ParseShape(const std::string& text) {
  StepBenchRow row;
  char rest = 0;
  const int read =
      std::sscanf(text.c_str(), "%dx%d:%d%c", &row.batch, &row.context, &row.queries, &rest);
  const bool decode = read == 2 && text.find(':') == std::string::npos && row.context > 0;
  const bool prompt = read == 3 && row.context >= 0 && row.queries > 0;
  if ((!decode && !prompt) || row.batch < 1 || row.batch > 4096) {
    return InvalidArgument(
        fmt::format("\"{}\" is not BATCHxCONTEXT or BATCHxCONTEXT:QUERIES, such as 8x1024", text),
        "shapes");
  }
  return row;
}

// `batch` sequences of `queries` tokens from `position` on, each in its own run of blocks.
ForwardInput StepOf(int batch, int position, int queries, int blocks_each, int block_size,
                    bool first) {
  ForwardInput in;
  in.max_blocks = (position + queries - 1) / block_size + 1;
  for (int s = 0; s < batch; ++s) {
    const int base = s * blocks_each;
    in.query_start.push_back(in.num_tokens());
    for (int i = position; i < position + queries; ++i) {
      in.token_ids.push_back(first || queries > 1 ? 7 + s + i : -1 - s);
      in.positions.push_back(i);
      in.slot_ids.push_back(int64_t{base + i / block_size} * block_size + i % block_size);
    }
    in.kv_len.push_back(position + queries);
    for (int b = 0; b < in.max_blocks; ++b) in.block_tables.push_back(base + b);
    in.sample_rows.push_back({.row = in.num_tokens() - 1, .slot = s});
  }
  in.query_start.push_back(in.num_tokens());
  return in;
}

Status PrintProfile(LocalExecutor& executor, double ceiling_gbs, double step_ms) {
  SLIP_ASSIGN_OR_RETURN(const std::vector<StageTime> stages, executor.ReadProfile());
  double sum_us = 0;
  std::printf("    %-22s %6s %10s %10s %8s %7s\n", "stage", "ops", "us", "us each", "GB/s",
              "share");
  for (const StageTime& stage : stages) {
    const double gbs = stage.us > 0 ? stage.bytes / stage.us * 1e-3 : 0;
    std::printf("    %-22s %6d %10.1f %10.2f %8.0f %6.1f%%\n", stage.stage.c_str(), stage.count,
                stage.us, stage.us / stage.count, gbs, 100 * gbs / ceiling_gbs);
    sum_us += stage.us;
  }
  std::printf("    one after the other %.1f us; between steps %.1f us\n", sum_us,
              1e3 * step_ms - sum_us);
  return {};
}

int BlocksEach(const Executor& executor, const StepBenchRow& row, int steps) {
  return (row.context + row.queries + kWarmupSteps + steps) / executor.info().block_size_tokens + 1;
}

bool Fits(const Executor& executor, const StepBenchRow& row, int steps) {
  return int64_t{BlocksEach(executor, row, steps)} * row.batch <= executor.info().num_blocks;
}

Status RunSteps(Executor& executor, int steps, StepBenchRow* row) {
  const int block_size = executor.info().block_size_tokens;
  const int total = kWarmupSteps + steps;
  const int blocks_each = BlocksEach(executor, *row, steps);
  if (!Fits(executor, *row, steps)) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("{} sequences of {} tokens do not fit the KV cache", row->batch,
                            row->context + row->queries + total));
  }
  auto params = std::make_shared<SamplingParams>();
  params->temperature = 0;
  int64_t start_us = 0, submit_us = 0;
  int in_flight = 0;
  for (int step = 0; step < total; ++step) {
    if (step == kWarmupSteps) {
      for (; in_flight > 0; --in_flight) SLIP_RETURN_IF_ERROR(executor.Collect());
      start_us = NowUs();
      submit_us = 0;
    }
    const int position = row->context + (row->queries == 1 ? step - 1 : 0);
    ForwardInput in =
        StepOf(row->batch, position, row->queries, blocks_each, block_size, step == 0);
    for (int s = 0; step == 0 && s < row->batch; ++s) {
      in.slot_updates.push_back({.slot = s, .params = params});
    }
    const int64_t begin_us = NowUs();
    SLIP_RETURN_IF_ERROR(executor.Submit(std::move(in)));
    submit_us += NowUs() - begin_us;
    if (++in_flight >= executor.max_in_flight()) {
      SLIP_RETURN_IF_ERROR(executor.Collect());
      --in_flight;
    }
  }
  for (; in_flight > 0; --in_flight) SLIP_RETURN_IF_ERROR(executor.Collect());
  row->ms = static_cast<double>(NowUs() - start_us) * 1e-3 / steps;
  row->host_us = static_cast<double>(submit_us) / steps;
  return {};
}

// Bytes of the matrices that one step reads, as 16-bit weights; the embedding table only where it
// is the output projection as well.
double WeightBytes(const Checkpoint& checkpoint) {
  double elems = 0;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    if (t.shape.size() != 2) continue;
    const bool embedding = t.name == "model.embed_tokens.weight";
    if (embedding && !checkpoint.config().tie_word_embeddings) continue;
    elems += static_cast<double>(t.shape[0]) * static_cast<double>(t.shape[1]);
  }
  return 2 * elems;
}

double KvBytes(const ModelConfig& c, const StepBenchRow& row, int steps) {
  const double context = row.context + kWarmupSteps + steps / 2.0;
  return 2.0 * 2 * static_cast<double>(c.num_layers * c.num_kv_heads * c.head_dim) * row.batch *
         context;
}

Status AppendCsv(const StepBenchOptions& o, const std::vector<StepBenchRow>& rows) {
  std::ofstream out(o.csv, std::ios::app);
  if (!out) return InvalidArgument(fmt::format("{}: cannot be written", o.csv), "csv");
  const auto devices = ListCudaDevices();
  const std::string card =
      devices && !devices->empty() ? devices->front().name : DescribeCpu().name;
  char date[16];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  const std::string model = o.model.path.substr(o.model.path.find_last_of('/') + 1);
  for (const StepBenchRow& r : rows) {
    if (r.queries > 1) continue;
    out << fmt::format("{},{},{},{},{},1,slipstream,{},{},{:.3f},{:.3f}\n", card, date, o.commit,
                       model, o.runtime.dtype, r.batch, r.context, r.ms, r.share);
  }
  return {};
}

// The shapes asked for, or of the standard ones those that the model's context holds.
Result<std::vector<StepBenchRow>> RowsOf(const StepBenchOptions& o, int64_t context_limit,
                                         EngineConfig* config) {
  std::vector<std::string> shapes = o.shapes;
  if (shapes.empty()) shapes.assign(std::begin(kStandardShapes), std::end(kStandardShapes));
  std::vector<StepBenchRow> rows;
  for (const std::string& shape : shapes) {
    SLIP_ASSIGN_OR_RETURN(const StepBenchRow row, ParseShape(shape));
    const int64_t length = row.context + row.queries + kWarmupSteps + o.steps + 1;
    if (o.shapes.empty() && length > context_limit) continue;
    config->max_num_seqs = std::max(config->max_num_seqs, row.batch);
    config->max_batch_tokens =
        std::max({config->max_batch_tokens, config->max_num_seqs, row.batch * row.queries});
    config->max_model_len = std::max<int64_t>(config->max_model_len, length);
    rows.push_back(row);
  }
  if (rows.empty()) {
    return InvalidArgument(
        fmt::format("no standard shape fits a context of {} tokens; give some", context_limit),
        "shapes");
  }
  return rows;
}

}  // namespace

Result<std::vector<StepBenchRow>> RunStepBench(const StepBenchOptions& o) {
  EngineConfig config = o.engine;
  const int64_t begin_us = NowUs();
  SLIP_ASSIGN_OR_RETURN(auto checkpoint, OpenCheckpoint(o.model.path, ToLoadOptions(o.model)));
  SLIP_ASSIGN_OR_RETURN(std::vector<StepBenchRow> rows,
                        RowsOf(o, checkpoint->config().max_position_embeddings, &config));
  SLIP_ASSIGN_OR_RETURN(auto executor, MakeLocalExecutor(*checkpoint, config, o.runtime));
  if (o.shapes.empty()) {
    std::erase_if(rows, [&](const StepBenchRow& row) { return !Fits(*executor, row, o.steps); });
  }
  std::printf("loaded in %.2f s\n", static_cast<double>(NowUs() - begin_us) * 1e-6);
  std::printf("%6s %8s %10s %8s %10s\n", "batch", "context", "ms", "share", "submit us");
  for (StepBenchRow& row : rows) {
    SLIP_RETURN_IF_ERROR(RunSteps(*executor, o.steps, &row));
    const double bytes = WeightBytes(*checkpoint) + KvBytes(checkpoint->config(), row, o.steps);
    // The floor of a prompt chunk is arithmetic, not bandwidth.
    row.share = row.queries == 1 ? bytes / (o.ceiling_gbs * 1e6) / row.ms : 0;
    std::printf("%6d %8d %10.3f %7.1f%% %10.1f\n", row.batch, row.context, row.ms, 100 * row.share,
                row.host_us);
    std::fflush(stdout);
  }
  if (o.profile) {
    executor->StartProfile();
    for (StepBenchRow row : rows) {
      SLIP_RETURN_IF_ERROR(RunSteps(*executor, 3, &row));
      std::printf("%dx%d:%d\n", row.batch, row.context, row.queries);
      SLIP_RETURN_IF_ERROR(PrintProfile(*executor, o.ceiling_gbs, row.ms));
    }
  }
  if (!o.csv.empty()) SLIP_RETURN_IF_ERROR(AppendCsv(o, rows));
  return rows;
}

}  // namespace slipstream
