// A device that computes hashes instead of a model, to prove that the engine's bookkeeping is
// right. Its KV slots store what was written: token, position and a hash of the whole history. A
// step reads every earlier slot through the block table and checks that it holds that position of
// an unbroken history, so wrong tables, blocks with two writers, missed chunks and stale prefix
// blocks are recorded as violations and change the output. The next token is a pure function of
// history, seed and output index, so ExpectedOutput can tell it without a schedule.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/token_constraint.h"
#include "engine/request.h"
#include "runtime/executor.h"

namespace slipstream::testing {

constexpr uint64_t kEmptyHistory = 0x5eed;

inline uint64_t ExtendHistory(uint64_t history, int32_t token) {
  return MixBits(history * 31 + static_cast<uint64_t>(static_cast<uint32_t>(token)));
}

inline int32_t NextToken(uint64_t history, uint64_t seed, uint64_t index, int64_t vocab_size,
                         const std::vector<int32_t>& masked,
                         std::span<const uint32_t> allowed = {}) {
  int32_t token = static_cast<int32_t>(MixBits(history ^ MixBits(seed ^ MixBits(index))) %
                                       static_cast<uint64_t>(vocab_size));
  for (int64_t tried = 0; tried < vocab_size; ++tried) {
    if (std::find(masked.begin(), masked.end(), token) == masked.end() &&
        (allowed.empty() || TokenAllowed(allowed, token))) {
      return token;
    }
    token = static_cast<int32_t>((token + 1) % vocab_size);
  }
  return -1;  // nothing may be sampled
}

// A token's hidden state is this and 1: sums of them are exact.
inline double StateOf(uint64_t history) { return static_cast<double>(history % 1000); }

inline float TokenScore(uint64_t history, int32_t token) {
  return -UniformAt(history, static_cast<uint64_t>(token));
}

// What the test may look at and steer while the engine owns the executor.
struct FakeDevice {
  // Faults: a call fails when its number (from 0) is in the set.
  std::set<int> failing_submits;
  std::set<int> failing_collects;
  std::atomic<bool> fatal{false};
  std::atomic<int> num_steps{0};
  std::atomic<int> num_calls{0};           // Submit and Collect
  std::atomic<int> num_prefill_tokens{0};  // tokens of sequences that got more than one
  std::atomic<int> num_late_masks{0};      // steps that got their masks late
  bool late_masks = false;                 // it takes them
  int max_rows = 0;                        // sample rows in one step
  int max_tokens = 0;

  void Violation(std::string what) {
    std::lock_guard lock(mutex);
    violations.push_back(std::move(what));
  }
  std::vector<std::string> Violations() {
    std::lock_guard lock(mutex);
    return violations;
  }
  std::mutex mutex;
  std::vector<std::string> violations;
};

class FakeExecutor : public Executor {
 public:
  FakeExecutor(ExecutorInfo info, int depth, std::shared_ptr<FakeDevice> device)
      : info_(std::move(info)),
        depth_(depth),
        device_(std::move(device)),
        kv_(info_.num_blocks * info_.block_size_tokens),
        slots_(info_.max_num_seqs) {}

  const ExecutorInfo& info() const override { return info_; }
  int max_in_flight() const override { return depth_; }
  bool fatal() const override { return device_->fatal; }

  Status Submit(ForwardInput input) override {
    ++device_->num_calls;
    if (static_cast<int>(done_.size()) >= depth_) Bad("more steps in flight than allowed");
    if (device_->fatal) return Internal("the device is lost");
    if (unsampled_) Bad("a step before the masks of the last one");
    if (device_->failing_submits.count(num_submits_++) > 0) return Internal("injected at submit");
    const bool lost = device_->failing_collects.count(num_accepted_++) > 0;
    CheckShape(input);
    std::vector<uint64_t> history;
    StepOutput output = Execute(input, &history);
    for (const PoolRun& run : input.pool_runs) output.pooled.push_back(Pool(run, input, history));
    if (input.masks_follow) {
      if (!device_->late_masks || done_.empty()) Bad("masks are late without need");
      unsampled_ = Unsampled{std::move(history), input.sample_rows, input.num_masks};
    } else {
      SampleRows(input.sample_rows, input.token_masks, input.num_masks, history, &output);
    }
    if (lost) {
      for (const int64_t slot : input.slot_ids) kv_[slot] = {0, kPoison, 0};
    }
    ++device_->num_steps;
    done_.push_back({std::move(output), lost});
    return {};
  }

  bool takes_late_masks() const override { return device_->late_masks; }

  void SupplyMasks(std::vector<uint32_t> masks) override {
    ++device_->num_late_masks;
    if (!unsampled_) return Bad("masks for a step that waits for none");
    if (done_.size() != 1) Bad("masks before the steps they depend on are collected");
    SampleRows(unsampled_->rows, masks, unsampled_->num_masks, unsampled_->history,
               &done_.back().output);
    unsampled_.reset();
  }

  Result<StepOutput> Collect() override {
    ++device_->num_calls;
    if (unsampled_ && done_.size() == 1) Bad("a step is collected before its masks are there");
    if (done_.empty()) return Internal("nothing to collect");
    Done done = std::move(done_.front());
    done_.pop_front();
    if (device_->fatal) return Internal("the device is lost");
    if (done.lost) return Internal("injected at collect");
    return std::move(done.output);
  }

 private:
  static constexpr int32_t kNever = -1;
  static constexpr int32_t kPoison = -2;
  struct KvSlot {
    int32_t token = 0;
    int32_t position = kNever;
    uint64_t history = 0;
  };
  struct SamplerSlot {
    bool loaded = false;
    uint64_t seed = 0;
    uint64_t count = 0;
    int min_tokens = 0;
    int32_t last = -1;
    std::vector<int32_t> stop_ids;
  };
  struct Done {
    StepOutput output;
    bool lost;
  };

  void Bad(std::string what) { device_->Violation(std::move(what)); }

  void CheckShape(const ForwardInput& in) {
    device_->max_rows = std::max(device_->max_rows, static_cast<int>(in.sample_rows.size()));
    device_->max_tokens = std::max(device_->max_tokens, in.num_tokens());
    if (in.num_tokens() == 0 || in.num_tokens() > info_.max_batch_tokens) Bad("tokens in a step");
    if (in.num_seqs() > info_.max_num_seqs) Bad("sequences in a step");
    if (in.query_start.size() != in.kv_len.size() + 1) Bad("length of query_start");
    if (in.query_start.back() != in.num_tokens()) Bad("end of query_start");
    if (in.block_tables.size() != in.kv_len.size() * in.max_blocks) Bad("size of block_tables");
    std::set<int64_t> written(in.slot_ids.begin(), in.slot_ids.end());
    if (written.size() != in.slot_ids.size()) Bad("a slot is written twice in a step");
    std::set<int32_t> sampled;
    for (const SampleRow& row : in.sample_rows) {
      if (row.target < 0 && !sampled.insert(row.slot).second) Bad("a slot is sampled twice");
    }
  }

  void SampleRows(const std::vector<SampleRow>& rows, const std::vector<uint32_t>& masks,
                  int num_masks, const std::vector<uint64_t>& history, StepOutput* output) {
    const auto words = static_cast<size_t>(TokenMaskWords(info_.vocab_size));
    if (masks.size() != num_masks * words) Bad("words of token masks");
    for (const SampleRow& row : rows) {
      if (row.mask >= num_masks) Bad("a row names a mask that is not there");
      const bool masked = row.mask >= 0 && (row.mask + 1) * words <= masks.size();
      output->tokens.push_back(Sample(row, history,
                                      masked ? std::span(masks).subspan(row.mask * words, words)
                                             : std::span<const uint32_t>()));
    }
  }

  PooledStates Pool(const PoolRun& run, const ForwardInput& in,
                    const std::vector<uint64_t>& history) {
    if (run.count < 1 || run.row < 0 || run.row + run.count > in.num_tokens()) Bad("a pool run");
    PooledStates pooled{std::vector<double>(2)};
    for (int32_t i = run.row; i < run.row + run.count; ++i) {
      pooled.sum[0] += StateOf(history[i]);
      pooled.sum[1] += 1;
    }
    return pooled;
  }

  StepOutput Execute(const ForwardInput& in, std::vector<uint64_t>* rows_history) {
    for (const SamplerSlotUpdate& u : in.slot_updates) {
      slots_[u.slot] = {true,        u.seed,    u.output_ids.size(), u.params->min_tokens,
                        /*last=*/-1, u.stop_ids};
      if (u.params->repetition_penalty != 1.0f && u.prompt_ids.empty()) Bad("prompt for penalties");
    }
    std::vector<uint64_t>& history = *rows_history;
    history.resize(in.num_tokens());
    std::set<int64_t> blocks;
    for (int s = 0; s < in.num_seqs(); ++s) Write(in, s, &blocks);
    for (int s = 0; s < in.num_seqs(); ++s) Attend(in, s, &history);
    StepOutput output;
    output.step = in.step;
    return output;
  }

  void Write(const ForwardInput& in, int s, std::set<int64_t>* blocks) {
    const int64_t bs = info_.block_size_tokens;
    const int32_t* table = &in.block_tables[static_cast<size_t>(s) * in.max_blocks];
    const int32_t begin = in.query_start[s], end = in.query_start[s + 1];
    if (end - begin > 1) device_->num_prefill_tokens += end - begin;
    if (in.positions[end - 1] + 1 != in.kv_len[s]) Bad("kv_len is not the last position + 1");
    std::set<int64_t> mine;
    for (int32_t i = begin; i < end; ++i) {
      const int32_t p = in.positions[i];
      if (in.slot_ids[i] != table[p / bs] * bs + p % bs) Bad("slot_ids differ from block_tables");
      mine.insert(in.slot_ids[i] / bs);
      int32_t token = in.token_ids[i];
      if (token < 0) token = slots_[-1 - token].last;
      if (token < 0) Bad("refers to a token that was never sampled");
      uint64_t before = kEmptyHistory;
      if (p > 0) before = kv_[table[(p - 1) / bs] * bs + (p - 1) % bs].history;
      kv_[in.slot_ids[i]] = {token, p, ExtendHistory(before, token)};
    }
    for (const int64_t b : mine) {
      if (!blocks->insert(b).second) Bad("two sequences write one block");
    }
  }

  void Attend(const ForwardInput& in, int s, std::vector<uint64_t>* history) {
    const int64_t bs = info_.block_size_tokens;
    const int32_t* table = &in.block_tables[static_cast<size_t>(s) * in.max_blocks];
    const int32_t first = in.kv_len[s] - (in.query_start[s + 1] - in.query_start[s]);
    uint64_t h = kEmptyHistory;
    bool poisoned = false;
    for (int32_t p = 0; p < in.kv_len[s]; ++p) {
      const KvSlot& kv = kv_[table[p / bs] * bs + p % bs];
      h = ExtendHistory(h, kv.token);
      if (kv.position != p || kv.history != h) {
        // What a failed step left behind is garbage, but reading it is only wrong if the result
        // is delivered.
        poisoned |= kv.position == kPoison;
        if (!poisoned) {
          Bad(fmt::format("step {} sequence {}: position {} holds {}", in.step, s, p, kv.position));
        }
        h = MixBits(h + in.step);
      }
      if (p >= first) (*history)[in.query_start[s] + p - first] = h;
    }
  }

  SampledToken Sample(const SampleRow& row, const std::vector<uint64_t>& history,
                      std::span<const uint32_t> allowed) {
    const uint64_t h = history[row.row];
    SamplerSlot& slot = slots_[row.slot];
    if (!slot.loaded) Bad("a sampler slot was never loaded");
    SampledToken out;
    out.slot = row.slot;
    if (row.target >= 0) {
      out.token = row.target;
    } else {
      const bool mask = slot.count < static_cast<uint64_t>(slot.min_tokens);
      out.token = NextToken(h, slot.seed, slot.count++, info_.vocab_size,
                            mask ? slot.stop_ids : std::vector<int32_t>{}, allowed);
      if (out.token < 0) Bad("nothing may be sampled");
      slot.last = out.token;
    }
    out.logprob = TokenScore(h, out.token);
    return out;
  }

  const ExecutorInfo info_;
  const int depth_;
  const std::shared_ptr<FakeDevice> device_;
  std::vector<KvSlot> kv_;
  std::vector<SamplerSlot> slots_;
  std::deque<Done> done_;
  struct Unsampled {
    std::vector<uint64_t> history;
    std::vector<SampleRow> rows;
    int num_masks;
  };
  std::optional<Unsampled> unsampled_;  // the newest step, while its masks are missing
  int num_submits_ = 0;
  int num_accepted_ = 0;
};

// A request's constraint as a schedule must not change it.
class ExpectedConstraint {
 public:
  ExpectedConstraint(const Request& request, const std::vector<int32_t>& stop,
                     const ExecutorInfo& info)
      : request_(request), stop_(stop) {
    if (request.constraint == nullptr) return;
    state_ = std::move(*request.constraint->Start(stop));
    mask_.resize(static_cast<size_t>(TokenMaskWords(info.vocab_size)));
    if (request.constraint_after < 0) Begin();
  }
  std::span<const uint32_t> mask() const {
    return begun_ ? std::span<const uint32_t>(mask_) : std::span<const uint32_t>();
  }
  bool Over(int64_t num_outputs) const {
    if (!begun_) return false;
    for (int32_t t = 0; t < static_cast<int32_t>(mask_.size()) * 32; ++t) {
      const bool stop = num_outputs < request_.params->min_tokens &&
                        std::find(stop_.begin(), stop_.end(), t) != stop_.end();
      if (TokenAllowed(mask_, t) && !stop) return false;
    }
    return true;
  }
  void Follow(int32_t token) {
    if (state_ == nullptr) return;
    if (!begun_) return SeeForced(token);
    if (!state_->Advance(token)) mask_.assign(mask_.size(), 0);
    (void)state_->FillMask(mask_);
  }
  void SeeForced(int32_t token) {
    if (state_ != nullptr && !begun_ && token == request_.constraint_after) Begin();
  }

 private:
  void Begin() {
    begun_ = true;
    (void)state_->FillMask(mask_);
  }

  const Request& request_;
  const std::vector<int32_t> stop_;
  std::unique_ptr<TokenConstraintState> state_;
  std::vector<uint32_t> mask_;
  bool begun_ = false;
};

struct ExpectedOutput {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  int32_t stop_token = -1;
  std::vector<float> prompt_scores;  // one per prompt token but the first
};

// What choice `choice` of a request must produce, whatever the schedule. `seed` is the request's.
inline ExpectedOutput Expect(const Request& request, int choice, const ExecutorInfo& info) {
  ExpectedOutput out;
  const SamplingParams& params = *request.params;
  std::vector<int32_t> stop = params.stop_token_ids;
  if (!params.ignore_eos) {
    stop.insert(stop.end(), info.eos_token_ids.begin(), info.eos_token_ids.end());
  }
  uint64_t h = kEmptyHistory;
  for (size_t i = 0; i < request.prompt_ids.size(); ++i) {
    if (i > 0) out.prompt_scores.push_back(TokenScore(h, request.prompt_ids[i]));
    h = ExtendHistory(h, request.prompt_ids[i]);
  }
  const int64_t room = info.max_model_len - static_cast<int64_t>(request.prompt_ids.size());
  const int64_t max_outputs = std::min<int64_t>(params.max_tokens, room);
  const uint64_t seed = static_cast<uint64_t>(*params.seed) + static_cast<uint64_t>(choice);
  int in_span = !request.span_budget ? -2 : request.span_budget->open_token < 0 ? 0 : -1;
  ExpectedConstraint constraint(request, stop, info);
  while (static_cast<int64_t>(out.tokens.size()) < max_outputs) {
    if (constraint.Over(static_cast<int64_t>(out.tokens.size()))) {
      out.finish = FinishReason::kStop;
      return out;
    }
    const size_t n = out.tokens.size();
    const bool mask = n < static_cast<size_t>(params.min_tokens);
    const int32_t token = NextToken(h, seed, n, info.vocab_size,
                                    mask ? stop : std::vector<int32_t>{}, constraint.mask());
    out.tokens.push_back(token);
    h = ExtendHistory(h, token);
    if (!mask && std::find(stop.begin(), stop.end(), token) != stop.end()) {
      out.finish = FinishReason::kStop;
      out.stop_token = token;
      return out;
    }
    if (static_cast<int64_t>(out.tokens.size()) < max_outputs) constraint.Follow(token);
    if (in_span == -2 || constraint.Over(static_cast<int64_t>(out.tokens.size()))) continue;
    const SpanBudget& span = *request.span_budget;
    if (in_span == -1) {
      in_span = token == span.open_token                       ? 0
                : out.tokens.size() >= SpanBudget::kMaxOpening ? -2
                                                               : -1;
    } else {
      in_span = token == span.close_token ? -2 : in_span + 1;
    }
    if (in_span < span.max_tokens) continue;
    in_span = -2;
    for (const int32_t forced : span.forced) {
      if (static_cast<int64_t>(out.tokens.size()) >= max_outputs) break;
      out.tokens.push_back(forced);
      h = ExtendHistory(h, forced);
      constraint.SeeForced(forced);
    }
  }
  out.finish = FinishReason::kLength;
  return out;
}

}  // namespace slipstream::testing
