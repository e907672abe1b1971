#include "runtime/model_runner.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/host_memory.h"
#include "base/log.h"
#include "base/token_constraint.h"
#include "runtime/memory_budget.h"

namespace slipstream {
namespace {

// Logit rows computed at once: bounds the logits buffer (rows * vocab_size * 4 bytes) when whole
// prompts are scored.
constexpr int kMinLogitRows = 32;

// "auto" is float32 on the CPU: greedy answers of quantized models must not hinge on a rounded
// cache.
Result<DType> KvDTypeOf(const RuntimeConfig& runtime, const Backend& backend) {
  constexpr std::pair<std::string_view, DType> kNames[] = {
      {"f32", DType::kF32}, {"bf16", DType::kBF16}, {"f16", DType::kF16}};
  if (runtime.kv_dtype == "auto") return backend.default_kv_dtype();
  std::string known = "auto";
  for (const auto& [name, dtype] : kNames) {
    if (!backend.supports_kv_dtype(dtype)) continue;
    if (name == runtime.kv_dtype) return dtype;
    known += ", " + std::string(name);
  }
  return Fail(ErrorCode::kUnimplemented,
              "kv_dtype \"" + runtime.kv_dtype + "\" is not one of " + known + " on the " +
                  std::string(backend.name()) + " backend",
              "kv_dtype");
}

Status CheckLimits(const EngineConfig& engine) {
  if (engine.max_num_seqs < 1) {
    return InvalidArgument("max_num_seqs must be positive", "max_num_seqs");
  }
  if (engine.max_itl_ms > 0 && !engine.enable_chunked_prefill) {
    return InvalidArgument("max_itl_ms needs enable_chunked_prefill: prompts are cut to keep it",
                           "max_itl_ms");
  }
  if (engine.max_batch_tokens < engine.max_num_seqs) {
    return InvalidArgument("max_batch_tokens (" + std::to_string(engine.max_batch_tokens) +
                               ") must be at least max_num_seqs (" +
                               std::to_string(engine.max_num_seqs) + ")",
                           "max_batch_tokens");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ModelRunner>> ModelRunner::Create(const Checkpoint& checkpoint,
                                                         const EngineConfig& engine,
                                                         const RuntimeConfig& runtime,
                                                         std::unique_ptr<Backend> backend) {
  SLIP_RETURN_IF_ERROR(CheckLimits(engine));
  SLIP_ASSIGN_OR_RETURN(const DType kv_dtype, KvDTypeOf(runtime, *backend));
  std::unique_ptr<ModelRunner> out(new ModelRunner());
  out->backend_ = std::move(backend);
  SLIP_ASSIGN_OR_RETURN(out->model_, BuildModel(checkpoint, *out->backend_));
  checkpoint.ReleasePages();
  LogHostMemory("reading weights");
  const ModelConfig& config = out->model_->config();
  out->max_logit_rows_ = std::max(engine.max_num_seqs, kMinLogitRows);
  const int64_t max_model_len =
      engine.max_model_len > 0 ? engine.max_model_len : config.max_position_embeddings;
  const int block_size = std::max(1, engine.block_size_tokens);
  SLIP_RETURN_IF_ERROR(out->model_->Reserve(
      {.max_tokens = engine.max_batch_tokens,
       .max_logit_rows = out->max_logit_rows_,
       .max_seqs = engine.max_num_seqs,
       .max_blocks = static_cast<int>((max_model_len + block_size - 1) / block_size),
       .block_size = block_size,
       .kv_dtype = kv_dtype,
       .max_positions = max_model_len}));
  SLIP_ASSIGN_OR_RETURN(DeviceSampler * device_sampler,
                        out->backend_->MakeDeviceSampler(engine.max_num_seqs, config.vocab_size));
  LogHostMemory("reserving for steps");

  const KvDemand demand{.bytes_per_token = out->model_->kv_bytes_per_token(kv_dtype),
                        .model_limit = config.max_position_embeddings,
                        .free_bytes = static_cast<int64_t>(out->backend_->free_memory_bytes()),
                        .takes_all = out->backend_->dedicated_memory()};
  SLIP_ASSIGN_OR_RETURN(const KvBudget budget, PlanKvBudget(engine, demand));
  const KvCacheShape shape{.num_layers = config.num_layers,
                           .num_blocks = budget.num_blocks,
                           .num_kv_heads = static_cast<int>(config.num_kv_heads),
                           .block_size = engine.block_size_tokens,
                           .head_dim = static_cast<int>(config.head_dim),
                           .dtype = kv_dtype};
  SLIP_ASSIGN_OR_RETURN(KvCache kv, KvCache::Create(shape, *out->backend_));
  out->kv_ = std::make_unique<KvCache>(std::move(kv));
  out->sampler_ =
      device_sampler != nullptr
          ? MakeDeviceStepSampler(*device_sampler, engine.max_num_seqs, config.vocab_size)
          : MakeHostStepSampler(*out->backend_, engine.max_num_seqs, config.vocab_size);
  out->pool_ = std::make_unique<HiddenPool>(*out->backend_, config.hidden_size);
  out->info_ = {.vocab_size = config.vocab_size,
                .hidden_size = config.hidden_size,
                .max_model_len = budget.max_model_len,
                .num_blocks = budget.num_blocks,
                .block_size_tokens = engine.block_size_tokens,
                .max_num_seqs = engine.max_num_seqs,
                .max_batch_tokens = engine.max_batch_tokens,
                .token_tile = out->backend_->token_tile(),
                .eos_token_ids = config.eos_token_ids};
  out->token_ids_.reserve(engine.max_batch_tokens);
  out->logit_rows_.reserve(engine.max_batch_tokens);
  out->row_index_.resize(engine.max_batch_tokens);
  LogHostMemory("the KV cache");
  SLIP_RETURN_IF_ERROR(out->WarmUp());
  LogHostMemory("the first steps");
  return out;
}

// A step whose keys and values are not kept: slot -1 writes nowhere.
Status ModelRunner::RunUnseen(int num_seqs, int queries) {
  const int num_tokens = num_seqs * queries;
  const int max_blocks = (queries + info_.block_size_tokens - 1) / info_.block_size_tokens;
  const std::vector<int32_t> token_ids(num_tokens, 0), kv_len(num_seqs, queries);
  const std::vector<int32_t> tables(static_cast<size_t>(num_seqs) * max_blocks, 0);
  const std::vector<int64_t> slots(num_tokens, -1);
  std::vector<int32_t> positions, query_start, logit_rows;
  for (int s = 0; s < num_seqs; ++s) {
    query_start.push_back(s * queries);
    for (int i = 0; i < queries; ++i) positions.push_back(i);
    logit_rows.push_back((s + 1) * queries - 1);
  }
  query_start.push_back(num_tokens);
  const ModelInput step{.token_ids = token_ids,
                        .batch = {.num_seqs = num_seqs,
                                  .num_tokens = num_tokens,
                                  .query_start = query_start.data(),
                                  .kv_len = kv_len.data(),
                                  .block_tables = tables.data(),
                                  .max_blocks = max_blocks,
                                  .positions = positions.data(),
                                  .slot_ids = slots.data()},
                        .logit_rows = logit_rows};
  SLIP_RETURN_IF_ERROR(model_->Forward(step, kv_->layers()));
  return backend_->Synchronize();
}

// One token of the last step; its slot is loaded again before a sequence uses it.
Status ModelRunner::SampleUnseen() {
  const SamplerSlotUpdate update{.params = std::make_shared<const SamplingParams>()};
  const SampleRow row;
  const int32_t logits_row = 0;
  SLIP_RETURN_IF_ERROR(sampler_->Update({&update, 1}));
  SLIP_ASSIGN_OR_RETURN(const TensorView logits, model_->Logits(0, 1));
  SLIP_RETURN_IF_ERROR(sampler_->Sample({&row, 1}, {&logits_row, 1}, {}, logits, true));
  const auto token = sampler_->Collect();
  if (!token) LogWarning("a first step without a prompt: {}", token.error().message);
  return {};
}

Status ModelRunner::WarmUp() {
  const std::vector<int> recorded = backend_->RecordedRows();
  if (recorded.empty()) return {};
  const int64_t begin_us = NowUs();
  const int64_t prompt = std::min<int64_t>(info_.max_batch_tokens, info_.max_model_len);
  SLIP_RETURN_IF_ERROR(RunUnseen(1, static_cast<int>(prompt)));
  for (const int num_seqs : recorded) SLIP_RETURN_IF_ERROR(RunUnseen(num_seqs, 1));
  SLIP_RETURN_IF_ERROR(SampleUnseen());
  LogInfo("recorded {} sizes of decode steps in {:.2f} s", recorded.size(),
          static_cast<double>(NowUs() - begin_us) * 1e-6);
  return {};
}

Status ModelRunner::CheckSequence(const ForwardInput& input, int seq) const {
  const int32_t begin = input.query_start[seq], end = input.query_start[seq + 1];
  const int32_t kv_len = input.kv_len[seq];
  const int block_size = info_.block_size_tokens;
  const auto fail = [&](const char* what) {
    return Internal("step " + std::to_string(input.step) + ", sequence " + std::to_string(seq) +
                    ": " + what);
  };
  if (begin < 0 || end <= begin || end > input.num_tokens()) return fail("bad query range");
  if (kv_len < end - begin || kv_len > info_.max_model_len) return fail("bad kv_len");
  const int32_t num_blocks = (kv_len + block_size - 1) / block_size;
  if (num_blocks > input.max_blocks) return fail("block table shorter than kv_len");
  const int32_t* table = input.block_tables.data() + static_cast<int64_t>(seq) * input.max_blocks;
  for (int32_t i = 0; i < num_blocks; ++i) {
    if (table[i] < 0 || table[i] >= info_.num_blocks) return fail("block id out of range");
  }
  for (int32_t i = begin; i < end; ++i) {
    const int32_t position = kv_len - (end - i);
    const int64_t slot =
        static_cast<int64_t>(table[position / block_size]) * block_size + position % block_size;
    if (input.positions[i] != position) return fail("positions do not end at kv_len");
    if (input.slot_ids[i] != slot) return fail("KV slot is not where the block table says");
  }
  return {};
}

Status ModelRunner::CheckInput(const ForwardInput& input) const {
  const size_t num_tokens = input.token_ids.size();
  const size_t num_seqs = input.kv_len.size();
  if (num_tokens == 0 || num_tokens > static_cast<size_t>(info_.max_batch_tokens)) {
    return Internal("step of " + std::to_string(num_tokens) + " tokens; the limit is " +
                    std::to_string(info_.max_batch_tokens));
  }
  const bool sizes_ok =
      input.positions.size() == num_tokens && input.slot_ids.size() == num_tokens &&
      input.query_start.size() == num_seqs + 1 && input.max_blocks >= 0 &&
      input.block_tables.size() == num_seqs * static_cast<size_t>(input.max_blocks) &&
      input.query_start.front() == 0 && static_cast<size_t>(input.query_start.back()) == num_tokens;
  if (!sizes_ok) {
    return Internal("step " + std::to_string(input.step) + ": arrays disagree about its size");
  }
  for (size_t seq = 0; seq < num_seqs; ++seq) {
    SLIP_RETURN_IF_ERROR(CheckSequence(input, static_cast<int>(seq)));
  }
  for (const SampleRow& row : input.sample_rows) {
    if (row.row < 0 || static_cast<size_t>(row.row) >= num_tokens) {
      return Internal("sample row " + std::to_string(row.row) + " of " +
                      std::to_string(num_tokens));
    }
    if (row.mask < -1 || row.mask >= input.num_masks) {
      return Internal("a sample row names mask " + std::to_string(row.mask) + " of " +
                      std::to_string(input.num_masks));
    }
  }
  for (const PoolRun& run : input.pool_runs) {
    if (run.row < 0 || run.count < 1 || run.count > input.num_tokens() - run.row) {
      return Internal("a pool run of " + std::to_string(run.count) + " tokens from " +
                      std::to_string(run.row) + " on, of " + std::to_string(num_tokens));
    }
  }
  if (input.num_masks < 0 || input.num_masks > info_.max_num_seqs) {
    return Internal("step of " + std::to_string(input.num_masks) + " token masks");
  }
  return input.masks_follow ? Status() : CheckMasks(input.token_masks, input.num_masks);
}

Status ModelRunner::CheckMasks(std::span<const uint32_t> masks, int num_masks) const {
  const auto words = static_cast<size_t>(num_masks * TokenMaskWords(info_.vocab_size));
  if (masks.size() == words) return {};
  return Internal("token masks of " + std::to_string(masks.size()) + " words instead of " +
                  std::to_string(words));
}

void ModelRunner::CollectLogitRows(const ForwardInput& input) {
  logit_rows_.clear();
  for (const SampleRow& row : input.sample_rows) logit_rows_.push_back(row.row);
  for (const PoolRun& run : input.pool_runs) {
    for (int32_t i = 0; i < run.count; ++i) logit_rows_.push_back(run.row + i);
  }
  std::sort(logit_rows_.begin(), logit_rows_.end());
  logit_rows_.erase(std::unique(logit_rows_.begin(), logit_rows_.end()), logit_rows_.end());
  for (size_t i = 0; i < logit_rows_.size(); ++i) {
    row_index_[logit_rows_[i]] = static_cast<int32_t>(i);
  }
}

Status ModelRunner::PoolAll(std::span<const PoolRun> runs, std::vector<PooledStates>* out) {
  for (const PoolRun& run : runs) {
    // Rows of a run lie side by side in the hidden states as they do in the step.
    SLIP_RETURN_IF_ERROR(
        pool_->AddUp(model_->hidden(), row_index_[run.row], run.count, &out->emplace_back().sum));
  }
  return {};
}

// `logits` holds the first rows; the rest is computed piece by piece, in order of sample_rows. A
// piece ends with a row that is sampled: behind it may be many whose states alone are wanted.
Status ModelRunner::SampleAll(std::span<const SampleRow> rows, std::span<const uint32_t> masks,
                              TensorView logits) {
  int64_t begin = 0;
  int64_t end = std::min<int64_t>(static_cast<int64_t>(logit_rows_.size()), logits.dim(0));
  for (size_t first = 0; first < rows.size();) {
    const int64_t index = row_index_[rows[first].row];
    if (index < begin || index >= end) {
      begin = index;
      end = index + 1;
      for (size_t i = first + 1; i < rows.size(); ++i) {
        const int64_t at = row_index_[rows[i].row];
        if (at < begin || at >= begin + max_logit_rows_) break;
        end = std::max(end, at + 1);
      }
      SLIP_ASSIGN_OR_RETURN(logits, model_->Logits(begin, end - begin));
    }
    logit_index_.clear();
    size_t next = first;
    for (; next < rows.size(); ++next) {
      const int64_t at = row_index_[rows[next].row];
      if (at < begin || at >= end) break;
      logit_index_.push_back(static_cast<int32_t>(at - begin));
    }
    SLIP_RETURN_IF_ERROR(sampler_->Sample(rows.subspan(first, next - first), logit_index_, masks,
                                          logits, next == rows.size()));
    first = next;
  }
  return {};
}

Status ModelRunner::Submit(const ForwardInput& input) {
  if (unsampled_) return Internal("a step came before the token masks of the one before it");
  SLIP_RETURN_IF_ERROR(CheckInput(input));
  SLIP_RETURN_IF_ERROR(sampler_->Update(input.slot_updates));
  token_ids_.assign(input.token_ids.begin(), input.token_ids.end());
  SLIP_RETURN_IF_ERROR(sampler_->Resolve(token_ids_));
  CollectLogitRows(input);
  const ModelInput step{.token_ids = token_ids_,
                        .batch = {.num_seqs = input.num_seqs(),
                                  .num_tokens = input.num_tokens(),
                                  .query_start = input.query_start.data(),
                                  .kv_len = input.kv_len.data(),
                                  .block_tables = input.block_tables.data(),
                                  .max_blocks = input.max_blocks,
                                  .positions = input.positions.data(),
                                  .slot_ids = input.slot_ids.data()},
                        .logit_rows = logit_rows_,
                        .hidden_wanted = !input.pool_runs.empty()};
  SLIP_ASSIGN_OR_RETURN(const TensorView logits, model_->Forward(step, kv_->layers()));
  std::vector<PooledStates> pooled;
  SLIP_RETURN_IF_ERROR(PoolAll(input.pool_runs, &pooled));
  if (input.masks_follow) {
    unsampled_ = Unsampled{input.sample_rows, input.num_masks, logits};
  } else {
    SLIP_RETURN_IF_ERROR(SampleAll(input.sample_rows, input.token_masks, logits));
  }
  in_flight_.push_back({input.step, !input.sample_rows.empty(), std::move(pooled)});
  return {};
}

Status ModelRunner::SupplyMasks(std::span<const uint32_t> masks) {
  if (!unsampled_) return Internal("token masks for a step that waits for none");
  const Unsampled step = *std::exchange(unsampled_, std::nullopt);
  Status status = CheckMasks(masks, step.num_masks);
  if (status) status = SampleAll(step.rows, masks, step.logits);
  if (!status) in_flight_.pop_back();
  return status;
}

Result<StepOutput> ModelRunner::Collect() {
  if (in_flight_.empty()) return Internal("no step to collect");
  InFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  StepOutput out{.step = step.step, .tokens = {}, .pooled = std::move(step.pooled)};
  // A step that samples nothing still has to end before its input buffers are written again.
  if (!step.samples) {
    SLIP_RETURN_IF_ERROR(backend_->Synchronize());
    return out;
  }
  SLIP_ASSIGN_OR_RETURN(out.tokens, sampler_->Collect());
  return out;
}

}  // namespace slipstream
