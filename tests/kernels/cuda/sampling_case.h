// Runs sampling tasks on the device and, one by one, through the host's Sampler, and compares.
// Draws may differ where a sum's rounding decides; everything else has to be equal.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "kernels/cuda/sampling/sampling.h"
#include "runtime/sampler.h"
#include "tests/kernels/cuda/device.h"

namespace slipstream::kernels {

struct SampleCase {
  SamplingParams params;
  int row = 0;
  uint64_t seed = 1;
  std::vector<int32_t> prompt, output, stops;
  int32_t target = -1;
  std::vector<int32_t> allowed;  // empty: not restricted
};

inline bool IsExact(const SampleCase& c) {
  return c.target >= 0 || c.params.temperature < 1e-5f || c.params.top_k == 1;
}

inline std::string Describe(const SampleCase& c) {
  const SamplingParams& p = c.params;
  char text[256];
  std::snprintf(text, sizeof(text),
                "row %d T %g top_k %d top_p %g min_p %g penalties %g %g %g bias %zu min_tokens %d "
                "target %d logprobs %d seed %llu allowed %zu",
                c.row, p.temperature, p.top_k, p.top_p, p.min_p, p.repetition_penalty,
                p.presence_penalty, p.frequency_penalty, p.logit_bias.size(), p.min_tokens,
                c.target, p.num_logprobs, static_cast<unsigned long long>(c.seed),
                c.allowed.size());
  return text;
}

struct SampleOutcome {
  int draws = 0, differ = 0;
};

// The cases of one batch; case i has slot num_slots - 1 - i. `rows` are [n, vocab] without padding.
class SampleBatch {
 public:
  SampleBatch(int vocab, const std::vector<std::vector<float>>& rows, std::vector<SampleCase> cases,
              int64_t stride_over = 8)
      : vocab_(vocab),
        stride_(vocab + stride_over),
        rows_(rows),
        cases_(std::move(cases)),
        slots_(static_cast<int>(cases_.size()) + 1),
        host_(slots_, vocab),
        diverged_(cases_.size(), false) {
    UploadRows();
    LoadSlots();
  }

  // One token for every case, compared with the host's.
  void Step(SampleOutcome& outcome) {
    Launch();
    const std::vector<SampledTokenRecord> records = out_->Download<SampledTokenRecord>();
    for (size_t i = 0; i < cases_.size(); ++i) {
      if (diverged_[i]) continue;
      SCOPED_TRACE(Describe(cases_[i]));
      Compare(i, records[i], outcome);
      if (::testing::Test::HasFatalFailure()) return;
    }
    std::vector<unsigned char> padding(sizeof(SampledTokenRecord));
    std::memcpy(padding.data(), &records.back(), padding.size());
    for (const unsigned char b : padding) ASSERT_EQ(b, 0xFF) << "a skipped task wrote its record";
  }

  // What the slots hold must be what the tokens so far make of them.
  void CheckState() {
    const auto slots = slot_memory_->Download<SamplingSlot>();
    const auto last = last_token_->Download<int32_t>();
    const auto counts = counts_->Download<uint16_t>();
    for (size_t i = 0; i < cases_.size(); ++i) {
      SampleCase& c = cases_[i];
      if (diverged_[i]) continue;
      SCOPED_TRACE(Describe(c));
      const int slot = SlotOf(i);
      ASSERT_EQ(slots[slot].num_output, static_cast<int32_t>(c.output.size()));
      ASSERT_EQ(last[slot], c.output.empty() ? -1 : c.output.back());
      if (!HasPenalties(c.params)) continue;
      std::vector<uint16_t> want(vocab_, 0);
      for (const int32_t id : c.prompt) want[id] = 0x8000;
      for (const int32_t id : c.output) want[id]++;
      for (int t = 0; t < vocab_; ++t) {
        ASSERT_EQ(counts[int64_t{slot} * vocab_ + t], want[t]) << "count of token " << t;
      }
    }
  }

  std::vector<SampledTokenRecord> LaunchOnly() {
    Launch();
    return out_->Download<SampledTokenRecord>();
  }

 private:
  int SlotOf(size_t i) const { return slots_ - 1 - static_cast<int>(i); }

  static int TopOf(const SampleCase& c) {
    return c.target >= 0 ? c.params.num_prompt_logprobs : c.params.num_logprobs;
  }

  // Padding between rows is NaN.
  void UploadRows() {
    std::vector<float> host(rows_.size() * stride_, std::nanf(""));
    for (size_t r = 0; r < rows_.size(); ++r) {
      std::copy(rows_[r].begin(), rows_[r].end(), host.begin() + r * stride_);
    }
    logits_ = std::make_unique<DeviceBytes>(host);
    const int words = (vocab_ + 31) / 32 + 3;
    std::vector<uint32_t> masks;
    std::vector<int32_t> mask_rows, tasks;
    std::vector<SampleTask> task_list;
    for (size_t i = 0; i < cases_.size(); ++i) {
      const SampleCase& c = cases_[i];
      task_list.push_back({c.row, SlotOf(i), c.target, TopOf(c)});
      mask_rows.push_back(c.allowed.empty() ? -1 : static_cast<int32_t>(masks.size() / words));
      if (c.allowed.empty()) continue;
      masks.resize(masks.size() + words, 0);
      for (const int32_t t : c.allowed) masks[masks.size() - words + t / 32] |= 1u << t % 32;
    }
    task_list.push_back({0, -1, -1, 5});
    mask_rows.push_back(-1);
    masks.resize(masks.size() + words, ~0u);
    allowed_ = std::make_unique<DeviceBytes>(masks);
    allowed_rows_ = std::make_unique<DeviceBytes>(mask_rows);
    tasks_ = std::make_unique<DeviceBytes>(task_list);
    num_tasks_ = static_cast<int>(task_list.size());
    scratch_ = std::make_unique<DeviceBytes>(SampleScratchBytes(num_tasks_, vocab_));
    params_.logits = logits_->get<float>();
    params_.logits_stride = stride_;
    params_.tasks = tasks_->get<SampleTask>();
    params_.num_tasks = num_tasks_;
    params_.allowed = allowed_->get<uint32_t>();
    params_.allowed_rows = allowed_rows_->get<int32_t>();
    params_.allowed_stride = words;
    params_.scratch = scratch_->get();
  }

  SamplingSlotLoad LoadOf(size_t i, std::vector<int32_t>& ids) const {
    const SampleCase& c = cases_[i];
    const SamplingParams& p = c.params;
    SamplingSlotLoad load;
    load.slot = {.seed = c.seed,
                 .temperature = p.temperature,
                 .top_k = p.top_k,
                 .top_p = p.top_p,
                 .min_p = p.min_p,
                 .repetition_penalty = p.repetition_penalty,
                 .presence_penalty = p.presence_penalty,
                 .frequency_penalty = p.frequency_penalty,
                 .num_output = static_cast<int32_t>(c.output.size()),
                 .min_tokens = p.min_tokens,
                 .num_stops = static_cast<int32_t>(c.stops.size()),
                 .num_bias = static_cast<int32_t>(p.logit_bias.size()),
                 .has_penalties = HasPenalties(p)};
    load.index = SlotOf(i);
    load.last_token = c.output.empty() ? -1 : c.output.back();
    const auto append = [&](const std::vector<int32_t>& list) {
      const int32_t begin = static_cast<int32_t>(ids.size());
      ids.insert(ids.end(), list.begin(), list.end());
      return begin;
    };
    if (HasPenalties(p)) {
      load.prompt_begin = append(c.prompt), load.prompt_count = static_cast<int>(c.prompt.size());
      load.output_begin = append(c.output), load.output_count = static_cast<int>(c.output.size());
    }
    load.stops_begin = append(c.stops);
    load.bias_begin = static_cast<int32_t>(ids.size());
    for (const auto& [token, bias] : p.logit_bias) {
      int32_t bits;
      std::memcpy(&bits, &bias, 4);
      ids.insert(ids.end(), {token, bits});
    }
    return load;
  }

  // Everything starts as poison, so that what a load forgets to set is seen.
  void LoadSlots() {
    const size_t n = slots_;
    slot_memory_ = std::make_unique<DeviceBytes>(n * sizeof(SamplingSlot));
    last_token_ = std::make_unique<DeviceBytes>(n * 4);
    counts_ = std::make_unique<DeviceBytes>(n * vocab_ * 2);
    bias_ = std::make_unique<DeviceBytes>(n * kMaxLogitBias * sizeof(LogitBias));
    stops_ = std::make_unique<DeviceBytes>(n * kMaxMinTokenStops * 4);
    params_.state = {slot_memory_->get<SamplingSlot>(),
                     last_token_->get<int32_t>(),
                     counts_->get<uint16_t>(),
                     bias_->get<LogitBias>(),
                     stops_->get<int32_t>(),
                     slots_,
                     vocab_};
    std::vector<SamplingSlotLoad> loads;
    std::vector<int32_t> ids;
    for (size_t i = 0; i < cases_.size(); ++i) {
      const SampleCase& c = cases_[i];
      loads.push_back(LoadOf(i, ids));
      const Status updated = host_.Update({.slot = SlotOf(i),
                                           .params = std::make_shared<SamplingParams>(c.params),
                                           .seed = c.seed,
                                           .prompt_ids = c.prompt,
                                           .output_ids = c.output,
                                           .stop_ids = c.stops});
      ASSERT_TRUE(updated) << updated.error().message;
    }
    const DeviceBytes device_loads(loads), device_ids(ids);
    ASSERT_EQ(LoadSamplingSlots(device_loads.get<SamplingSlotLoad>(), device_ids.get<int32_t>(),
                                static_cast<int>(loads.size()), params_.state, nullptr),
              KernelStatus::kOk);
    SLIP_CUDA_OK(cudaDeviceSynchronize());
  }

  void Launch() {
    out_ = std::make_unique<DeviceBytes>(num_tasks_ * sizeof(SampledTokenRecord));
    params_.out = out_->get<SampledTokenRecord>();
    ASSERT_EQ(SampleTokens(params_, true, nullptr), KernelStatus::kOk);
    SLIP_CUDA_OK(cudaDeviceSynchronize());
  }

  void Compare(size_t i, const SampledTokenRecord& got, SampleOutcome& outcome) {
    SampleCase& c = cases_[i];
    std::vector<float> logits = rows_[c.row];
    if (!c.allowed.empty()) {
      for (float& x : logits) x = -INFINITY;
      for (const int32_t t : c.allowed) logits[t] = rows_[c.row][t];
    }
    const auto want = host_.Sample({.slot = SlotOf(i), .target = c.target}, logits);
    if (!want) {
      ASSERT_EQ(got.status, SampleStatus::kNotFinite) << want.error().message;
      ASSERT_EQ(got.token, -1);
      return;
    }
    ASSERT_EQ(got.status, SampleStatus::kOk);
    if (c.target < 0) outcome.draws++;
    if (got.token != want->token) {
      ASSERT_FALSE(IsExact(c)) << "token " << got.token << ", want " << want->token;
      outcome.differ++;
      diverged_[i] = true;
      std::printf("draw differs: %d, host %d; %s\n", got.token, want->token, Describe(c).c_str());
      return;
    }
    if (c.target < 0) c.output.push_back(got.token);
    CompareReport(c, got, *want);
  }

  static void ExpectLogprob(float got, float want) {
    if (std::isinf(want)) {
      ASSERT_EQ(got, want);
      return;
    }
    ASSERT_NEAR(got, want, 1e-5f * std::max(1.0f, std::fabs(want)));
  }

  void CompareReport(const SampleCase& c, const SampledTokenRecord& got, const SampledToken& want) {
    if (!c.allowed.empty()) return;  // the host saw other logits
    ASSERT_EQ(got.rank, want.rank);
    ExpectLogprob(got.logprob, want.logprob);
    int at = 0;
    for (; at < static_cast<int>(want.top.size()); ++at) {
      ASSERT_EQ(got.top_token[at], want.top[at].token) << "top " << at;
      ExpectLogprob(got.top_logprob[at], want.top[at].logprob);
    }
    for (; at < kMaxTopLogprobs; ++at) ASSERT_EQ(got.top_token[at], -1) << "unasked top " << at;
  }

  int vocab_;
  int64_t stride_;
  const std::vector<std::vector<float>>& rows_;
  std::vector<SampleCase> cases_;
  int slots_;
  Sampler host_;
  std::vector<bool> diverged_;
  SampleTokensParams params_;
  int num_tasks_ = 0;
  std::unique_ptr<DeviceBytes> logits_, allowed_, allowed_rows_, tasks_, scratch_, out_;
  std::unique_ptr<DeviceBytes> slot_memory_, last_token_, counts_, bias_, stops_;
};

}  // namespace slipstream::kernels
