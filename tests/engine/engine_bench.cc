// Host time of the engine per decode step, over an executor that answers at once: schedule, build
// the arrays, apply the tokens, deliver the events. Prints CSV: sequences, context tokens, steps,
// then microseconds per step (mean, p50, p99). Usage: slip_bench_engine [steps]
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <vector>

#include "base/clock.h"
#include "engine/engine_core.h"

namespace slipstream {
namespace {

class InstantExecutor : public Executor {
 public:
  explicit InstantExecutor(ExecutorInfo info) : info_(std::move(info)) {}
  const ExecutorInfo& info() const override { return info_; }
  int max_in_flight() const override { return 2; }
  Status Submit(ForwardInput input) override {
    StepOutput output;
    output.step = input.step;
    output.tokens.resize(input.sample_rows.size());
    for (size_t i = 0; i < output.tokens.size(); ++i) {
      output.tokens[i].slot = input.sample_rows[i].slot;
      output.tokens[i].token = static_cast<int32_t>(input.step % 1000);
    }
    done_.push_back(std::move(output));
    return {};
  }
  Result<StepOutput> Collect() override {
    StepOutput output = std::move(done_.front());
    done_.pop_front();
    return output;
  }

 private:
  const ExecutorInfo info_;
  std::deque<StepOutput> done_;
};

class CountingSink : public EventSink {
 public:
  void OnEvents(std::span<TokenEvent> events) override { count += events.size(); }
  size_t count = 0;
};

void Measure(int num_seqs, int context, int num_steps) {
  ExecutorInfo info;
  info.vocab_size = 128000;
  info.block_size_tokens = 16;
  info.max_model_len = context + num_steps + 64;
  info.num_blocks = num_seqs * (info.max_model_len / 16 + 2);
  EngineConfig config;
  config.max_num_seqs = num_seqs;
  config.max_batch_tokens = 8192;
  EngineCore core(config, std::make_unique<InstantExecutor>(info));
  auto params = std::make_shared<SamplingParams>();
  params->max_tokens = num_steps + 32;
  std::vector<std::shared_ptr<CountingSink>> sinks;
  for (int i = 0; i < num_seqs; ++i) {
    Request request;
    request.prompt_ids.assign(context, i % info.vocab_size);
    request.params = params;
    sinks.push_back(std::make_shared<CountingSink>());
    request.sink = sinks.back();
    if (!core.ReservePlace()) std::abort();
    core.Add(std::move(request), 0);
  }
  while (sinks.back()->count < 4) core.Step();  // every prompt is computed, depth two is reached
  std::vector<double> us;
  for (int i = 0; i < num_steps && core.has_work(); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    core.Step();
    us.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
                     .count());
  }
  double sum = 0;
  for (const double u : us) sum += u;
  std::sort(us.begin(), us.end());
  fmt::print("{},{},{},{:.1f},{:.1f},{:.1f}\n", num_seqs, context, us.size(), sum / us.size(),
             us[us.size() / 2], us[us.size() * 99 / 100]);
}

}  // namespace
}  // namespace slipstream

int main(int argc, char** argv) {
  const int num_steps = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1000;
  fmt::print("num_seqs,context_tokens,steps,mean_us,p50_us,p99_us\n");
  for (const int num_seqs : {1, 16, 64, 256}) slipstream::Measure(num_seqs, 512, num_steps);
  slipstream::Measure(256, 8192, num_steps);
  return 0;
}
