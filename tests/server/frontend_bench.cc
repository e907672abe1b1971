// Front-end speed by itself: streamed chat tokens per second through HTTP with a model that answers
// at once. Server, engine and client share the process; CPU seconds are those of all of them.
// Usage: slip_bench_frontend [streams] [tokens per stream]
#include <fmt/core.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "server/server.h"
#include "tests/server/fake_model.h"
#include "tests/server/tiny_tokenizer.h"
#include "tests/server/wire_client.h"
#include "tokenizer/chat_template.h"

namespace slipstream::testing {
namespace {

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return t.tv_sec + t.tv_usec * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

int Run(int streams, int tokens) {
  auto tokenizer = std::make_shared<TinyTokenizer>();
  auto model = std::make_shared<FakeModel>();
  model->script = [](uint64_t, int index) { return 'a' + index % 26; };
  ExecutorInfo info;
  info.vocab_size = tokenizer->vocab_size();
  info.max_model_len = tokens + 256;
  info.num_blocks = static_cast<int64_t>(streams) * (info.max_model_len / 16 + 1);
  info.max_num_seqs = streams;
  info.max_batch_tokens = 8192;
  info.eos_token_ids = tokenizer->eog_ids();
  EngineConfig engine_config;
  engine_config.max_num_seqs = streams;
  auto engine = MakeEngine(engine_config, std::make_unique<ScriptExecutor>(info, model));
  engine->Start();
  auto chat_template = ChatTemplate::Parse(DefaultChatTemplate(), "<s>", "</s>");
  ServerConfig config;
  config.port = 0;
  config.io_threads = 1;
  auto server =
      Server::Start(config, {.name = "tiny", .max_model_len = info.max_model_len}, tokenizer,
                    std::shared_ptr<const ChatTemplate>(std::move(*chat_template)), *engine);
  if (!server) {
    fmt::print(stderr, "{}\n", server.error().message);
    return 1;
  }
  const std::string request = WireClient::Format(
      "POST", "/v1/chat/completions",
      fmt::format(
          R"({{"stream":true,"max_tokens":{},"messages":[{{"role":"user","content":"x"}}]}})",
          tokens));
  std::vector<std::unique_ptr<WireClient>> clients;
  for (int i = 0; i < streams; ++i) {
    clients.push_back(std::make_unique<WireClient>((*server)->http_port()));
  }
  const int64_t start_us = NowUs();
  const double start_cpu = CpuSeconds();
  for (auto& client : clients) client->Send(request);
  std::atomic<int> done{0};
  std::vector<std::thread> readers;
  for (auto& client : clients) {
    readers.emplace_back([&client, &done] { done += client->Read().complete; });
  }
  for (std::thread& reader : readers) reader.join();
  const double wall = (NowUs() - start_us) * 1e-6;
  const double cpu = CpuSeconds() - start_cpu;
  const double total = static_cast<double>(streams) * tokens;
  fmt::print(
      "{} streams of {} tokens, {} complete: {:.0f} tokens/s, {:.0f} tokens per CPU second\n",
      streams, tokens, done.load(), total / wall, total / cpu);
  engine->Stop(NowUs());
  return done == streams ? 0 : 1;
}

}  // namespace
}  // namespace slipstream::testing

int main(int argc, char** argv) {
  const int streams = argc > 1 ? std::atoi(argv[1]) : 64;
  const int tokens = argc > 2 ? std::atoi(argv[2]) : 2000;
  return slipstream::testing::Run(streams, tokens);
}
