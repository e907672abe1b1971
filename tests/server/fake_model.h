// A model that says what a test tells it to: the n-th output token of a sequence is script(seed,
// n), or the next allowed one where a grammar forbids that. The test can hold its steps, slow them,
// count them and make them fail.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/token_constraint.h"
#include "runtime/executor.h"

namespace slipstream::testing {

// What a model says. A test may change it while the engine reads it: of a request whose answer is
// over, the engine may still be at work.
class Script {
 public:
  using Function = std::function<int32_t(uint64_t seed, int index)>;

  Script& operator=(Function function) {
    auto shared = std::make_shared<const Function>(std::move(function));
    std::lock_guard lock(mutex_);
    function_.swap(shared);
    return *this;
  }
  int32_t operator()(uint64_t seed, int index) const {
    std::unique_lock lock(mutex_);
    const std::shared_ptr<const Function> function = function_;
    lock.unlock();
    return (*function)(seed, index);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Function> function_;
};

struct FakeModel {
  Script script;
  std::function<float(int32_t token)> logprob = [](int32_t) { return -0.5f; };
  std::atomic<int> step_us{0};      // length of a step
  std::atomic<int> fail_after{-1};  // steps until one fails; -1: never
  std::atomic<int64_t> num_steps{0};
  std::atomic<bool> lost{false};  // the device is gone: every step fails and no other will do

  void Hold() { HoldAfter(0); }
  // Lets so many steps end and no other: an answer stays in its middle until the test has looked,
  // however long that takes.
  void HoldAfter(int steps) { LetEnd(steps); }
  void Release() { LetEnd(-1); }
  void WaitWhileHeld() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return steps_left != 0; });
    if (steps_left > 0) --steps_left;
  }

  void LetEnd(int steps) {
    {
      std::lock_guard lock(mutex);
      steps_left = steps;
    }
    changed.notify_all();
  }

  std::mutex mutex;
  std::condition_variable changed;
  int steps_left = -1;  // -1: any number
};

// The hidden state of a token, whatever comes before it.
inline std::vector<double> StateOf(int32_t token, int64_t hidden_size) {
  std::vector<double> state;
  for (int64_t d = 0; d < hidden_size; ++d) {
    state.push_back(static_cast<double>((token + 3 * d) % 11) - 5);
  }
  return state;
}

class ScriptExecutor final : public Executor {
 public:
  ScriptExecutor(ExecutorInfo info, std::shared_ptr<FakeModel> model)
      : info_(std::move(info)), model_(std::move(model)), slots_(info_.max_num_seqs) {}

  const ExecutorInfo& info() const override { return info_; }
  bool fatal() const override { return model_->lost; }

  Status Submit(ForwardInput input) override {
    for (SamplerSlotUpdate& update : input.slot_updates) {
      Slot& slot = slots_[update.slot];
      slot.params = update.params;
      slot.seed = update.seed;
      slot.next = static_cast<int>(update.output_ids.size());
    }
    StepOutput output;
    output.step = input.step;
    for (const SampleRow& row : input.sample_rows) {
      output.tokens.push_back(Sample(row, input.token_masks));
    }
    for (const PoolRun& run : input.pool_runs) {
      PooledStates& pooled = output.pooled.emplace_back();
      pooled.sum.resize(info_.hidden_size);
      for (int32_t i = run.row; i < run.row + run.count; ++i) {
        const std::vector<double> state = StateOf(input.token_ids[i], info_.hidden_size);
        for (size_t d = 0; d < state.size(); ++d) pooled.sum[d] += state[d];
      }
    }
    pending_.push_back(std::move(output));
    return {};
  }

  Result<StepOutput> Collect() override {
    model_->WaitWhileHeld();
    if (const int us = model_->step_us; us > 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(us));
    }
    ++model_->num_steps;
    StepOutput output = std::move(pending_.front());
    pending_.pop_front();
    if (model_->lost) return Internal("the device is lost");
    if (model_->fail_after >= 0 && model_->fail_after-- == 0) {
      return Internal("the device ran out of memory");
    }
    return output;
  }

 private:
  struct Slot {
    std::shared_ptr<const SamplingParams> params;
    uint64_t seed = 0;
    int next = 0;
  };

  int32_t Allowed(const SampleRow& row, const std::vector<uint32_t>& masks, int32_t wanted) {
    if (row.mask < 0) return wanted;
    const auto words = static_cast<size_t>(TokenMaskWords(info_.vocab_size));
    const auto mask = std::span(masks).subspan(static_cast<size_t>(row.mask) * words, words);
    for (int64_t i = 0; i < info_.vocab_size; ++i) {
      const auto token = static_cast<int32_t>((wanted + i) % info_.vocab_size);
      if (TokenAllowed(mask, token)) return token;
    }
    return wanted;
  }

  SampledToken Sample(const SampleRow& row, const std::vector<uint32_t>& masks) {
    Slot& slot = slots_[row.slot];
    SampledToken sampled;
    sampled.slot = row.slot;
    sampled.token =
        row.target >= 0 ? row.target : Allowed(row, masks, model_->script(slot.seed, slot.next++));
    const int num_top =
        row.target >= 0 ? slot.params->num_prompt_logprobs : slot.params->num_logprobs;
    if (num_top < 0) return sampled;
    sampled.logprob = model_->logprob(sampled.token);
    sampled.rank = 1;
    for (int i = 0; i < num_top; ++i) {
      sampled.top.push_back({static_cast<int32_t>((sampled.token + i) % info_.vocab_size),
                             sampled.logprob - static_cast<float>(i)});
    }
    return sampled;
  }

  const ExecutorInfo info_;
  const std::shared_ptr<FakeModel> model_;
  std::vector<Slot> slots_;
  std::deque<StepOutput> pending_;
};

}  // namespace slipstream::testing
