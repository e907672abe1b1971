// What grammars cost. First the library with the vocabulary of a model: microseconds to prepare it,
// to compile a schema, and per token to advance and fill a mask. Then the engine over a device
// whose steps take a fixed time, two in flight: tokens per second without grammars and with one on
// half of the sequences. Prints CSV. Usage: slip_bench_grammar MODEL [step_us] [steps]
#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <deque>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "engine/engine_core.h"
#include "grammar/xgrammar_engine.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {
namespace {

using SteadyClock = std::chrono::steady_clock;

double UsSince(SteadyClock::time_point begin) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - begin).count();
}

constexpr const char* kSchema = R"({"type":"object","properties":{
  "name":{"type":"string"},"age":{"type":"integer","minimum":0},
  "tags":{"type":"array","items":{"enum":["red","green","blue"]}},
  "notes":{"type":"array","minItems":1000,"items":{"type":"object",
    "properties":{"title":{"type":"string"},"done":{"type":"boolean"},"score":{"type":"number"}},
    "required":["title","done","score"]}}},"required":["name","age","tags","notes"]})";

// The first allowed token from a random place on; a device would draw, at no cost to the host.
int32_t Draw(std::span<const uint32_t> mask, uint64_t random) {
  const size_t first = random % mask.size();
  for (size_t i = 0; i < mask.size(); ++i) {
    const size_t word = (first + i) % mask.size();
    if (mask[word] == 0) continue;
    return static_cast<int32_t>(word * 32 + static_cast<size_t>(std::countr_zero(mask[word])));
  }
  return 0;
}

// Steps one after the other, each `step_us` long, then `kSampleUs` of sampling behind its masks.
class TimedDevice final : public Executor {
 public:
  TimedDevice(ExecutorInfo info, int step_us) : info_(std::move(info)), step_us_(step_us) {}
  const ExecutorInfo& info() const override { return info_; }
  int max_in_flight() const override { return 2; }
  bool takes_late_masks() const override { return true; }
  Status Submit(ForwardInput input) override {
    Step step;
    step.computed = std::max(SteadyClock::now(), free_) + std::chrono::microseconds(step_us_);
    step.output.step = input.step;
    step.rows = std::move(input.sample_rows);
    steps_.push_back(std::move(step));
    if (!input.masks_follow) SupplyMasks(std::move(input.token_masks));
    return {};
  }
  void SupplyMasks(std::vector<uint32_t> masks) override {
    Step& step = steps_.back();
    free_ = std::max(step.computed, SteadyClock::now()) + std::chrono::microseconds(kSampleUs);
    step.end = free_;
    const auto words = static_cast<size_t>(TokenMaskWords(info_.vocab_size));
    for (const SampleRow& row : step.rows) {
      SampledToken& token = step.output.tokens.emplace_back();
      token.slot = row.slot;
      const uint64_t random = MixBits(step.output.step * 1000 + static_cast<uint64_t>(row.slot));
      if (row.mask < 0) {
        token.token = static_cast<int32_t>(random % 1000);
      } else {
        token.token =
            Draw(std::span(masks).subspan(static_cast<size_t>(row.mask) * words, words), random);
      }
    }
  }
  Result<StepOutput> Collect() override {
    Step step = std::move(steps_.front());
    steps_.pop_front();
    std::this_thread::sleep_until(step.end);
    return std::move(step.output);
  }

 private:
  static constexpr int kSampleUs = 60;
  struct Step {
    SteadyClock::time_point computed, end;
    std::vector<SampleRow> rows;
    StepOutput output;
  };
  const ExecutorInfo info_;
  const int step_us_;
  SteadyClock::time_point free_;
  std::deque<Step> steps_;
};

class CountingSink final : public EventSink {
 public:
  void OnEvents(std::span<TokenEvent> events) override { count += events.size(); }
  size_t count = 0;
};

// Tokens per second of `num_seqs` sequences, `constrained` of them with a grammar.
double Serve(int num_seqs, int constrained, int step_us, int num_steps, int64_t vocab_size,
             const std::shared_ptr<const TokenConstraint>& constraint) {
  ExecutorInfo info;
  info.vocab_size = vocab_size;
  info.block_size_tokens = 16;
  info.max_model_len = 64 + 2 * num_steps;
  info.num_blocks = num_seqs * (info.max_model_len / 16 + 2);
  EngineConfig config;
  config.max_num_seqs = num_seqs;
  EngineCore core(config, std::make_unique<TimedDevice>(info, step_us));
  auto params = std::make_shared<SamplingParams>();
  params->max_tokens = 2 * num_steps;
  auto sink = std::make_shared<CountingSink>();
  for (int i = 0; i < num_seqs; ++i) {
    Request request;
    request.prompt_ids.assign(8, i);
    request.params = params;
    request.sink = sink;
    if (i < constrained) request.constraint = constraint;
    if (!core.ReservePlace()) std::abort();
    core.Add(std::move(request), 0);
  }
  while (sink->count < static_cast<size_t>(num_seqs) * 4) core.Step();
  const size_t before = sink->count;
  const auto begin = SteadyClock::now();
  for (int i = 0; i < num_steps; ++i) core.Step();
  return static_cast<double>(sink->count - before) / UsSince(begin) * 1e6;
}

int Run(const std::string& path, int step_us, int num_steps) {
  const auto tokenizer = MakeTokenizer(path);
  if (!tokenizer) {
    fmt::print(stderr, "{}\n", tokenizer.error().message);
    return 1;
  }
  const int64_t vocab_size = (*tokenizer)->vocab_size();
  auto begin = SteadyClock::now();
  const auto engine = MakeXGrammarEngine(**tokenizer, vocab_size);
  if (!engine) return 1;
  const double vocabulary_us = UsSince(begin);
  begin = SteadyClock::now();
  const auto compiled =
      (*engine)->Compile({GrammarKind::kJsonSchema, kSchema, true, "schema"}, kNeverStop);
  if (!compiled) return 1;
  const double compile_us = UsSince(begin);
  auto state = compiled->constraint->Start((*tokenizer)->eog_ids());
  if (!state) return 1;
  std::vector<uint32_t> mask(static_cast<size_t>(TokenMaskWords(vocab_size)));
  std::vector<double> fill_us, advance_us;
  for (int i = 0; i < num_steps; ++i) {
    begin = SteadyClock::now();
    if (!(*state)->FillMask(mask)) return 1;
    fill_us.push_back(UsSince(begin));
    const int32_t token = Draw(mask, MixBits(static_cast<uint64_t>(i)));
    begin = SteadyClock::now();
    if (!(*state)->Advance(token)) break;
    advance_us.push_back(UsSince(begin));
  }
  const auto row = [](std::vector<double> us) {
    std::sort(us.begin(), us.end());
    const double mean = std::accumulate(us.begin(), us.end(), 0.0) / static_cast<double>(us.size());
    return fmt::format("{:.1f},{:.1f},{:.1f},{:.1f}", mean, us[us.size() / 2],
                       us[us.size() * 99 / 100], us.back());
  };
  fmt::print(
      "vocab_size,vocabulary_us,compile_us,fill_mean_us,fill_p50_us,fill_p99_us,fill_max_us,"
      "advance_mean_us,advance_p50_us,advance_p99_us,advance_max_us\n{},{:.0f},{:.0f},{},{}\n",
      vocab_size, vocabulary_us, compile_us, row(fill_us), row(advance_us));
  fmt::print("num_seqs,step_us,plain_tokens_per_s,half_constrained_tokens_per_s,loss_percent\n");
  for (const int num_seqs : {2, 16, 64, 128}) {
    const auto serve = [&](int constrained) {
      return Serve(num_seqs, constrained, step_us, num_steps, vocab_size, compiled->constraint);
    };
    const double plain = serve(0), half = serve(num_seqs / 2);
    fmt::print("{},{},{:.0f},{:.0f},{:.2f}\n", num_seqs, step_us, plain, half,
               100 * (1 - half / plain));
  }
  return 0;
}

}  // namespace
}  // namespace slipstream

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: slip_bench_grammar MODEL [step_us] [steps]\n");
    return 2;
  }
  return slipstream::Run(argv[1], argc > 2 ? std::atoi(argv[2]) : 5000,
                         argc > 3 ? std::max(10, std::atoi(argv[3])) : 300);
}
