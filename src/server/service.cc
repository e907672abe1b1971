#include "server/service.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "server/active_generation.h"
#include "tokenizer/chat_template.h"

namespace slipstream {

namespace {

// Server::Start has checked the names.
OutputForms FormsOf(const ServerConfig& config, const ChatTemplate* chat_template) {
  std::string_view source;
  if (chat_template != nullptr) source = chat_template->source();
  return ChooseOutputForms(config.tool_parser, config.reasoning_parser, source)
      .value_or(OutputForms());
}

}  // namespace

Service::Service(const ServerConfig& config, ModelInfo model,
                 std::shared_ptr<const Tokenizer> tokenizer,
                 std::shared_ptr<const ChatTemplate> chat_template, std::shared_ptr<ApiKeys> keys,
                 Engine& engine)
    : config_(config),
      model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      chat_template_(std::move(chat_template)),
      output_forms_(FormsOf(config, chat_template_.get())),
      keys_(std::move(keys)),
      engine_(engine),
      metrics_(model_.max_model_len),
      busy_since_us_(NowUs()),
      grammars_(tokenizer_, engine_.info().vocab_size),
      pool_(config.tokenizer_threads) {}

Service::~Service() { Shutdown(); }

std::shared_ptr<Generation> Service::Generate(EventLoop& loop, GenerateRequest request,
                                              std::shared_ptr<GenerationObserver> observer) {
  auto generation = std::make_shared<ActiveGeneration>(shared_from_this(), loop, std::move(request),
                                                       std::move(observer));
  generation->Start();
  return generation;
}

bool Service::RunOnPool(EventLoop& loop, std::function<void()> work, std::function<void()> done) {
  if (!Reserve(1)) {
    metrics_.rejected_queue_full_total.Add();
    return false;
  }
  pool_.Post([this, &loop, work = std::move(work), done = std::move(done)] {
    work();
    Release(1);
    loop.Post(done);
  });
  return true;
}

void Service::AbortAll(const Error& error) {
  std::vector<std::shared_ptr<ActiveGeneration>> open;
  {
    std::lock_guard lock(registry_mutex_);
    for (const auto& [key, weak] : registry_) {
      if (auto generation = weak.lock()) open.push_back(std::move(generation));
    }
  }
  for (auto& generation : open) {
    EventLoop& loop = generation->loop();
    loop.Post([generation = std::move(generation), error] { generation->Fail(error); });
  }
}

Status Service::Health() const {
  const EngineMetrics& metrics = engine_.metrics();
  if (metrics.failed.load()) {
    return Fail(ErrorCode::kUnavailable, "the engine has failed and takes no requests");
  }
  if (metrics.has_work.load()) {
    const int64_t since = std::max(metrics.last_step_us.load(), busy_since_us_.load());
    const double waited = static_cast<double>(NowUs() - since) * 1e-6;
    if (waited > config_.stalled_engine_seconds) {
      return Fail(ErrorCode::kUnavailable,
                  fmt::format("work waits and no engine step ended for {:.0f} s", waited));
    }
  }
  return {};
}

Status Service::Ready() const {
  if (draining()) return Fail(ErrorCode::kUnavailable, "the server is shutting down");
  return Health();
}

bool Service::KnowsModel(std::string_view name) const {
  return name == model_.name ||
         std::find(model_.aliases.begin(), model_.aliases.end(), name) != model_.aliases.end();
}

bool Service::Reserve(int64_t places) {
  std::atomic<int64_t>& queued = metrics_.queued_requests;
  if (queued.fetch_add(places) + places <= config_.max_queued_requests) return true;
  queued.fetch_sub(places);
  return false;
}

void Service::Release(int64_t places) { metrics_.queued_requests.fetch_sub(places); }

bool Service::ReserveTokens(int64_t tokens) {
  std::atomic<int64_t>& queued = metrics_.queued_tokens;
  const int64_t before = queued.fetch_add(tokens);
  const int64_t most = config_.max_queued_tokens;
  if (most == 0 || before == 0 || before + tokens <= most) return true;
  queued.fetch_sub(tokens);
  return false;
}

void Service::Register(const std::shared_ptr<ActiveGeneration>& generation) {
  std::lock_guard lock(registry_mutex_);
  registry_.emplace(generation.get(), generation);
}

void Service::Unregister(const ActiveGeneration* generation) {
  std::lock_guard lock(registry_mutex_);
  registry_.erase(generation);
}

Status Service::SubmitToEngine(Request request) {
  if (metrics_.open_requests.load() <= 1) busy_since_us_.store(NowUs());
  return engine_.Submit(std::move(request));
}

}  // namespace slipstream
