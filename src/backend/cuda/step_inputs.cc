#include "backend/cuda/step_inputs.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/check.h"

namespace slipstream {
namespace {

constexpr size_t kAlign = 256;
size_t AlignUp(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

Result<std::unique_ptr<StepInputs>> StepInputs::Make(const StepLimits& limits,
                                                     const ModelShape& shape, int num_sms) {
  std::unique_ptr<StepInputs> out(new StepInputs(limits, num_sms));
  size_t plan_bytes = 0;
  for (const AttentionParams& params : shape.kinds) {
    KindPlan& kind = out->kinds_.emplace_back();
    const int group = shape.num_heads / shape.num_kv_heads;
    kind.decode = {.num_kv_heads = shape.num_kv_heads,
                   .group = group,
                   .head_dim = shape.head_dim,
                   .kv_dtype = limits.kv_dtype,
                   .max_query_len = 1,
                   .sliding_window = params.sliding_window,
                   .grid = num_sms,
                   .max_seqs = limits.max_seqs};
    kind.prefill = {.num_kv_heads = shape.num_kv_heads,
                    .group = group,
                    .head_dim = shape.head_dim,
                    .sliding_window = params.sliding_window,
                    .grid = num_sms,
                    .max_seqs = limits.max_seqs,
                    .max_tokens = limits.max_tokens};
    kind.decode_at = plan_bytes;
    kind.prefill_at = kind.decode_at + AlignUp(kernels::DecodePlanBytes(kind.decode));
    plan_bytes = kind.prefill_at + AlignUp(kernels::PrefillPlanBytes(kind.prefill));
  }
  const size_t array_bytes = out->LayOut(limits.max_tokens, limits.max_seqs, limits.max_tokens);
  const size_t table_bytes =
      static_cast<size_t>(limits.max_seqs) * limits.max_blocks * sizeof(int32_t);
  SLIP_ASSIGN_OR_RETURN(out->arrays_, DeviceBuffer::Make(array_bytes));
  SLIP_ASSIGN_OR_RETURN(out->plans_, DeviceBuffer::Make(plan_bytes));
  SLIP_ASSIGN_OR_RETURN(out->tables_, DeviceBuffer::Make(table_bytes));
  for (Staging& staging : out->staging_) {
    SLIP_ASSIGN_OR_RETURN(staging.arrays, PinnedBuffer::Make(array_bytes));
    SLIP_ASSIGN_OR_RETURN(staging.plans, PinnedBuffer::Make(plan_bytes));
    SLIP_ASSIGN_OR_RETURN(staging.tables, PinnedBuffer::Make(table_bytes));
  }
  return out;
}

// Few sizes, none far over what is asked for: a row more costs little, a graph more costs time.
int64_t StepInputs::RoundUp(int64_t rows) const {
  const int64_t step = rows <= 2 ? 1 : rows <= 4 ? 2 : rows <= 8 ? 4 : rows <= 64 ? 8 : 32;
  return std::min<int64_t>((rows + step - 1) / step * step, limits_.max_seqs);
}

std::vector<int> StepInputs::RecordedRows() const {
  std::vector<int> out;
  for (int64_t rows = 1; rows <= limits_.max_seqs; rows = RoundUp(rows) + 1) {
    out.push_back(static_cast<int>(RoundUp(rows)));
  }
  return out;
}

// Sets the offsets of the arrays; a function of its arguments alone. Returns the bytes in use.
size_t StepInputs::LayOut(int64_t tokens, int64_t seqs, int64_t logits) {
  size_t at = 0;
  const auto place = [&](int64_t elems, size_t elem_bytes) {
    const size_t begin = at;
    at += (static_cast<size_t>(elems) * elem_bytes + 15) / 16 * 16;
    return begin;
  };
  ids_at_ = place(tokens, sizeof(int32_t));
  positions_at_ = place(tokens, sizeof(int32_t));
  slots_at_ = place(tokens, sizeof(int64_t));
  kv_len_at_ = place(seqs, sizeof(int32_t));
  query_start_at_ = place(seqs + 1, sizeof(int32_t));
  logit_rows_at_ = place(logits, sizeof(int32_t));
  return at;
}

void StepInputs::PackArrays(const StepArrays& arrays, Staging& staging) {
  const AttentionBatch& batch = *arrays.batch;
  const auto put = [&](size_t offset, const auto* values, int64_t count, int64_t room, auto pad) {
    auto* out = staging.arrays.as<std::remove_cvref_t<decltype(*values)>>(offset);
    std::copy_n(values, count, out);
    std::fill(out + count, out + room, pad);
  };
  const int64_t tokens = batch.num_tokens, seqs = batch.num_seqs;
  const int64_t seq_room = recordable_ ? rows_.tokens : seqs;
  put(ids_at_, arrays.token_ids.data(), tokens, rows_.tokens, int32_t{0});
  put(positions_at_, batch.positions, tokens, rows_.tokens, int32_t{0});
  put(slots_at_, batch.slot_ids, tokens, rows_.tokens, int64_t{-1});  // padding writes no KV
  put(kv_len_at_, batch.kv_len, seqs, seq_room, int32_t{0});
  put(query_start_at_, batch.query_start, seqs + 1, seq_room + 1,
      static_cast<int32_t>(batch.num_tokens));
  put(logit_rows_at_, arrays.logit_rows.data(), static_cast<int64_t>(arrays.logit_rows.size()),
      static_cast<int64_t>(arrays.logit_rows.size()), int32_t{0});
}

Status StepInputs::CopyPlans(const AttentionBatch& batch, Staging& staging, cudaStream_t stream) {
  // For the prefill plan the decode sequences have no queries.
  std::vector<int32_t> query_start(batch.query_start, batch.query_start + batch.num_seqs + 1);
  std::fill(query_start.begin(), query_start.begin() + num_decode_, num_decode_);
  const auto copy = [&](size_t offset, size_t bytes) {
    return CudaOk(
        cudaMemcpyAsync(plans_->as<std::byte>(offset), staging.plans.as<std::byte>(offset), bytes,
                        cudaMemcpyHostToDevice, stream),
        "copying an attention plan");
  };
  for (KindPlan& kind : kinds_) {
    if (num_decode_ > 0) {
      const auto built = kernels::BuildDecodePlan(
          kind.decode,
          {.kv_len = {batch.kv_len, static_cast<size_t>(num_decode_)}, .query_len = {}},
          {staging.plans.as<std::byte>(kind.decode_at), kernels::DecodePlanBytes(kind.decode)});
      if (built.status != kernels::KernelStatus::kOk) return Internal("no decode attention plan");
      SLIP_RETURN_IF_ERROR(copy(kind.decode_at, built.used_bytes));
    }
    kind.prefill_items = 0;
    if (num_decode_ == batch.num_seqs) continue;
    const auto built = kernels::BuildPrefillPlan(
        kind.prefill,
        {.kv_len = {batch.kv_len, static_cast<size_t>(batch.num_seqs)}, .query_start = query_start},
        {staging.plans.as<std::byte>(kind.prefill_at), kernels::PrefillPlanBytes(kind.prefill)});
    if (built.status != kernels::KernelStatus::kOk) return Internal("no prefill attention plan");
    kind.prefill_items = built.num_items;
    SLIP_RETURN_IF_ERROR(copy(kind.prefill_at, built.used_bytes));
  }
  return {};
}

Status StepInputs::CopyTables(const AttentionBatch& batch, Staging& staging, cudaStream_t stream) {
  const size_t width = static_cast<size_t>(std::min(batch.max_blocks, limits_.max_blocks));
  if (width == 0) return {};
  for (int s = 0; s < batch.num_seqs; ++s) {
    std::copy_n(batch.block_tables + static_cast<int64_t>(s) * batch.max_blocks, width,
                staging.tables.as<int32_t>() + s * width);
  }
  return CudaOk(cudaMemcpy2DAsync(tables_->as<int32_t>(), limits_.max_blocks * sizeof(int32_t),
                                  staging.tables.as<int32_t>(), width * sizeof(int32_t),
                                  width * sizeof(int32_t), static_cast<size_t>(batch.num_seqs),
                                  cudaMemcpyHostToDevice, stream),
                "copying block tables");
}

Status StepInputs::Begin(const StepArrays& arrays, bool graphs, cudaStream_t stream) {
  const AttentionBatch& batch = *arrays.batch;
  const int64_t tokens = batch.num_tokens, logits = static_cast<int64_t>(arrays.logit_rows.size());
  if (tokens > limits_.max_tokens || batch.num_seqs > limits_.max_seqs) {
    return Internal("a step of " + std::to_string(tokens) + " tokens and " +
                    std::to_string(batch.num_seqs) + " sequences is larger than reserved");
  }
  num_seqs_ = batch.num_seqs;
  num_kv_tokens_ = std::accumulate(batch.kv_len, batch.kv_len + num_seqs_, int64_t{0});
  num_decode_ = 0;
  while (num_decode_ < num_seqs_ && batch.query_start[num_decode_ + 1] == num_decode_ + 1) {
    ++num_decode_;
  }
  recordable_ = graphs && num_decode_ == num_seqs_ && logits == tokens;
  rows_ = recordable_ ? StepRows{RoundUp(tokens), RoundUp(tokens)} : StepRows{tokens, logits};
  turn_ ^= 1;
  Staging& staging = staging_[turn_];
  const size_t bytes = LayOut(rows_.tokens, recordable_ ? rows_.tokens : num_seqs_, rows_.logits);
  PackArrays(arrays, staging);
  SLIP_RETURN_IF_ERROR(
      CudaOk(cudaMemcpyAsync(arrays_->as<std::byte>(), staging.arrays.as<std::byte>(), bytes,
                             cudaMemcpyHostToDevice, stream),
             "copying a step's arrays"));
  SLIP_RETURN_IF_ERROR(CopyPlans(batch, staging, stream));
  return CopyTables(batch, staging, stream);
}

const StepInputs::KindPlan& StepInputs::plan(int sliding_window) const {
  for (const KindPlan& kind : kinds_) {
    if (kind.decode.sliding_window == sliding_window) return kind;
  }
  SLIP_CHECK(false, "attention with a window that was not reserved");
  return kinds_[0];
}

}  // namespace slipstream
