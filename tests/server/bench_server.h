// The server of the front-end benchmark: in a process of its own, so that its CPU time and memory
// are its own, with a model that answers at once or at a set pace. REQUIRES: the process has no
// other threads when it is started.
#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "server/server.h"
#include "tests/server/tiny_tokenizer.h"
#include "tokenizer/chat_template.h"

namespace slipstream::testing {

// When the engine got each token, by the seed of its request and its place; shared with the client.
class EmissionTimes {
 public:
  EmissionTimes(int streams, int tokens) : streams_(streams), tokens_(tokens) {
    void* memory =
        mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    times_ = memory == MAP_FAILED ? nullptr : static_cast<int64_t*>(memory);
  }
  ~EmissionTimes() {
    if (times_ != nullptr) munmap(times_, bytes());
  }
  EmissionTimes(const EmissionTimes&) = delete;
  EmissionTimes& operator=(const EmissionTimes&) = delete;

  int64_t* at(uint64_t seed, int token) {
    const bool known =
        times_ != nullptr && seed < static_cast<uint64_t>(streams_) && token < tokens_;
    return known ? times_ + seed * static_cast<uint64_t>(tokens_) + token : nullptr;
  }

 private:
  size_t bytes() const { return sizeof(int64_t) * streams_ * tokens_; }
  const int streams_, tokens_;
  int64_t* times_ = nullptr;
};

struct BenchServerOptions {
  int max_streams = 64;
  int max_model_len = 4096;
  int step_us = 0;  // from one step's tokens to the next one's
  EmissionTimes* times = nullptr;
  std::shared_ptr<const Tokenizer> tokenizer;  // null: one of 256 bytes
};

class PacedExecutor final : public Executor {
 public:
  PacedExecutor(ExecutorInfo info, int step_us, EmissionTimes* times)
      : info_(std::move(info)), step_us_(step_us), times_(times), slots_(info_.max_num_seqs) {}

  const ExecutorInfo& info() const override { return info_; }

  Status Submit(ForwardInput input) override {
    for (const SamplerSlotUpdate& update : input.slot_updates) {
      slots_[update.slot] = {update.seed, static_cast<int>(update.output_ids.size())};
    }
    StepOutput output;
    output.step = input.step;
    for (const SampleRow& row : input.sample_rows) {
      SampledToken token;
      token.slot = row.slot;
      token.token = 'a' + static_cast<int32_t>(output.tokens.size()) % 26;
      output.tokens.push_back(std::move(token));
    }
    pending_.push_back(std::move(output));
    return {};
  }

  Result<StepOutput> Collect() override {
    if (step_us_ > 0) {
      next_us_ = std::max(next_us_ + step_us_, NowUs());
      std::this_thread::sleep_for(std::chrono::microseconds(next_us_ - NowUs()));
    }
    StepOutput output = std::move(pending_.front());
    pending_.pop_front();
    if (times_ == nullptr) return output;
    const int64_t now_us = NowUs();
    for (const SampledToken& token : output.tokens) {
      Slot& slot = slots_[token.slot];
      if (int64_t* time = times_->at(slot.seed, slot.next++)) *time = now_us;
    }
    return output;
  }

 private:
  struct Slot {
    uint64_t seed = 0;
    int next = 0;
  };
  const ExecutorInfo info_;
  const int step_us_;
  EmissionTimes* const times_;
  int64_t next_us_ = 0;
  std::vector<Slot> slots_;
  std::deque<StepOutput> pending_;
};

class BenchServer {
 public:
  explicit BenchServer(const BenchServerOptions& options) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(ends[0]);
      Serve(options, ends[1]);
    }
    close(ends[1]);
    if (read(ends[0], &port_, sizeof port_) != sizeof port_) port_ = 0;
    close(ends[0]);
  }
  ~BenchServer() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  BenchServer(const BenchServer&) = delete;
  BenchServer& operator=(const BenchServer&) = delete;

  uint16_t port() const { return port_; }  // 0: it did not start
  pid_t pid() const { return pid_; }

 private:
  [[noreturn]] static void Serve(const BenchServerOptions& options, int port_to) {
    std::shared_ptr<const Tokenizer> tokenizer = options.tokenizer;
    if (!tokenizer) tokenizer = std::make_shared<TinyTokenizer>();
    ExecutorInfo info;
    info.vocab_size = tokenizer->vocab_size();
    info.max_model_len = options.max_model_len;
    info.num_blocks = static_cast<int64_t>(options.max_streams) * (info.max_model_len / 16 + 1);
    info.max_num_seqs = options.max_streams;
    info.max_batch_tokens = 16384;
    info.eos_token_ids = tokenizer->eog_ids();
    EngineConfig engine_config;
    engine_config.max_num_seqs = options.max_streams;
    engine_config.max_batch_tokens = info.max_batch_tokens;
    engine_config.max_queued_requests = 2 * options.max_streams + 1024;
    auto engine = MakeEngine(engine_config,
                             std::make_unique<PacedExecutor>(info, options.step_us, options.times));
    engine->Start();
    auto chat_template = ChatTemplate::Parse(DefaultChatTemplate(), "<s>", "</s>");
    ServerConfig config;
    config.port = 0;
    config.io_threads = 1;
    config.log_requests = false;
    config.max_queued_requests = engine_config.max_queued_requests;
    auto server =
        Server::Start(config, {.name = "tiny", .max_model_len = info.max_model_len}, tokenizer,
                      std::shared_ptr<const ChatTemplate>(std::move(*chat_template)), *engine);
    const uint16_t port = server ? (*server)->http_port() : 0;
    if (write(port_to, &port, sizeof port) != sizeof port) std::_Exit(1);
    while (true) pause();
  }

  uint16_t port_ = 0;
  pid_t pid_ = -1;
};

// CPU seconds of all threads of a process so far; resident memory in MB. From /proc; 0 if unknown.
inline double CpuSecondsOf(pid_t pid) {
  std::FILE* file = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "r");
  if (file == nullptr) return 0;
  unsigned long user = 0, kernel = 0;
  const int n = std::fscanf(
      file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
  std::fclose(file);
  return n == 2 ? static_cast<double>(user + kernel) / static_cast<double>(sysconf(_SC_CLK_TCK))
                : 0;
}

inline double ResidentMbOf(pid_t pid) {
  std::FILE* file = std::fopen(("/proc/" + std::to_string(pid) + "/statm").c_str(), "r");
  if (file == nullptr) return 0;
  long pages = 0;
  const int n = std::fscanf(file, "%*d %ld", &pages);
  std::fclose(file);
  return n == 1 ? static_cast<double>(pages * sysconf(_SC_PAGESIZE)) / 1e6 : 0;
}

}  // namespace slipstream::testing
