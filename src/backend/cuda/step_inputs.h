// A step's arrays on the device: packed into pinned memory, copied once, read by every layer. Owned
// by the CUDA backend, used on its thread. The device addresses depend on the rounded number of
// rows alone, so that a recorded graph finds the arrays of later steps where it found those of the
// first. Two staging areas alternate: REQUIRES that step n - 2 has ended when step n begins.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/cuda_memory.h"
#include "kernels/cuda/attention/decode_plan.h"
#include "kernels/cuda/attention/prefill_sm90.h"

namespace slipstream {

class StepInputs {
 public:
  static Result<std::unique_ptr<StepInputs>> Make(const StepLimits& limits, const ModelShape& shape,
                                                  int num_sms);

  // Packs and copies. `graphs`: round the rows of a step of single queries up.
  Status Begin(const StepArrays& arrays, bool graphs, cudaStream_t stream);

  // Every number of rows that steps of single queries are rounded to.
  std::vector<int> RecordedRows() const;
  const StepRows& rows() const { return rows_; }
  bool recordable() const { return recordable_; }  // single queries, every row's logits wanted

  // Device arrays of the step in hand.
  const int32_t* token_ids() const { return At<int32_t>(ids_at_); }
  const int32_t* positions() const { return At<int32_t>(positions_at_); }
  const int64_t* slot_ids() const { return At<int64_t>(slots_at_); }
  const int32_t* kv_len() const { return At<int32_t>(kv_len_at_); }
  const int32_t* query_start() const { return At<int32_t>(query_start_at_); }
  const int32_t* logit_rows() const { return At<int32_t>(logit_rows_at_); }
  const int32_t* block_tables() const { return tables_->as<int32_t>(); }
  int max_blocks() const { return limits_.max_blocks; }
  int num_seqs() const { return num_seqs_; }
  int64_t num_kv_tokens() const { return num_kv_tokens_; }
  int num_decode() const { return num_decode_; }  // leading sequences of one query

  // Plans of the attention kind with this window.
  struct KindPlan {
    kernels::DecodePlanShape decode;
    kernels::PrefillPlanShape prefill;
    size_t decode_at = 0, prefill_at = 0;  // offsets in the plan memory
    int prefill_items = 0;
  };
  const KindPlan& plan(int sliding_window) const;
  const void* plan_data(size_t offset) const { return plans_->as<std::byte>(offset); }

 private:
  struct Staging {
    PinnedBuffer arrays, plans, tables;
  };

  StepInputs(const StepLimits& limits, int num_sms) : limits_(limits), num_sms_(num_sms) {}
  template <typename T>
  const T* At(size_t offset) const {
    return arrays_->as<T>(offset);
  }
  size_t LayOut(int64_t tokens, int64_t seqs, int64_t logits);
  void PackArrays(const StepArrays& arrays, Staging& staging);
  Status CopyPlans(const AttentionBatch& batch, Staging& staging, cudaStream_t stream);
  Status CopyTables(const AttentionBatch& batch, Staging& staging, cudaStream_t stream);
  int64_t RoundUp(int64_t rows) const;

  StepLimits limits_;
  int num_sms_;
  std::vector<KindPlan> kinds_;
  std::unique_ptr<DeviceBuffer> arrays_, plans_, tables_;
  std::array<Staging, 2> staging_;
  int turn_ = 0;

  StepRows rows_;
  bool recordable_ = false;
  int num_seqs_ = 0, num_decode_ = 0;
  int64_t num_kv_tokens_ = 0;
  size_t ids_at_ = 0, positions_at_ = 0, slots_at_ = 0, kv_len_at_ = 0, query_start_at_ = 0,
         logit_rows_at_ = 0;
};

}  // namespace slipstream
