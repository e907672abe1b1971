// The routes of the server without its sockets: an event loop on the caller's thread, and an
// Exchange that keeps what it is told.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "engine/engine.h"
#include "server/anthropic/messages.h"
#include "server/http/router.h"
#include "server/openai/routes.h"
#include "server/service.h"
#include "tests/fuzz/fuzz.h"
#include "tests/server/fake_model.h"
#include "tests/server/tiny_tokenizer.h"
#include "tokenizer/chat_template.h"

namespace slipstream::fuzz {

struct ApiAnswer {
  int status = 0;
  bool streamed = false;
  std::string body;
};

class HarnessLoop final : public EventLoop {
 public:
  HarnessLoop()
      : mailbox_(std::make_shared<Mailbox<StreamMail>>(
            [this] { Post([mailbox = mailbox_] { DeliverMail(*mailbox); }); })) {}

  void Post(std::function<void()> task) override {
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    posted_.notify_one();
  }
  const std::shared_ptr<Mailbox<StreamMail>>& mailbox() const override { return mailbox_; }

  template <typename Done>
  void RunUntil(Done done) {
    while (!done()) {
      std::unique_lock lock(mutex_);
      const bool some =
          posted_.wait_for(lock, std::chrono::seconds(40), [&] { return !tasks_.empty(); });
      Require(some, "every request is answered");
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<std::function<void()>> tasks_;
  std::shared_ptr<Mailbox<StreamMail>> mailbox_;
};

class HarnessExchange final : public Exchange {
 public:
  explicit HarnessExchange(EventLoop& loop) : loop_(loop) { record_->start_us = NowUs(); }

  EventLoop& loop() override { return loop_; }
  const std::shared_ptr<RequestRecord>& record() const override { return record_; }
  void Respond(HttpResponse response) override {
    Require(!done_ && !answer_.streamed, "an exchange is answered once");
    answer_.status = response.status;
    answer_.body = std::move(response.body);
    End();
  }
  void BeginStream(const std::string&, const HttpHeaders&) override {
    Require(!done_ && !answer_.streamed, "a stream begins once");
    answer_.streamed = true;
  }
  std::string& stream_buffer() override { return buffer_; }
  void FlushStream() override {
    Require(!done_ && answer_.streamed, "only a stream is flushed");
    answer_.body += buffer_;
    buffer_.clear();
  }
  void EndStream() override {
    FlushStream();
    End();
  }
  void SetHooks(std::shared_ptr<ExchangeHooks> hooks) override {
    if (!done_) hooks_ = std::move(hooks);
  }

  bool done() const { return done_; }
  const ApiAnswer& answer() const { return answer_; }

 private:
  void End() {
    done_ = true;
    hooks_.reset();
  }

  EventLoop& loop_;
  std::shared_ptr<RequestRecord> record_ = std::make_shared<RequestRecord>();
  std::shared_ptr<ExchangeHooks> hooks_;
  ApiAnswer answer_;
  std::string buffer_;
  bool done_ = false;
};

// Lives as long as the process.
class ApiHarness {
 public:
  ApiHarness() {
    StartEngine();
    StartService();
    AddChatRoutes(*service_, &router_);
    AddCompletionRoutes(*service_, &router_);
    AddResponsesRoutes(*service_, &router_);
    AddMessagesRoutes(*service_, &router_);
    AddTokenizeRoutes(*service_, &router_);
    AddEmbeddingRoutes(*service_, &router_);
  }

  // Nothing for a path that takes no POST.
  std::optional<ApiAnswer> Ask(std::string_view path, std::string_view body) {
    const Route* route = router_.Find("POST", path).route;
    if (route == nullptr) return std::nullopt;
    auto exchange = std::make_shared<HarnessExchange>(loop_);
    HttpRequest request;
    request.method = "POST";
    request.path = std::string(path);
    request.body = std::string(body);
    route->handler(exchange, std::move(request));
    loop_.RunUntil([&] { return exchange->done() && service_->open_requests() == 0; });
    return exchange->answer();
  }

 private:
  static constexpr int kMaxModelLen = 192;

  void StartEngine() {
    const std::vector<std::vector<int32_t>> scripts = {
        tokenizer_->Script("Hello world"),
        tokenizer_->Script("<think>so</think>yes STOP here"),
        tokenizer_->Script(
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>"),
        {0xF0, 0x9F, 0x98, 0x80, 0xFF, 34, 92, 10, 0}};
    model_->script = [scripts, end = *tokenizer_->eos_id()](uint64_t seed, int index) {
      const auto& script = scripts[seed % scripts.size()];
      return static_cast<size_t>(index) < script.size() ? script[static_cast<size_t>(index)] : end;
    };
    ExecutorInfo info;
    info.vocab_size = tokenizer_->vocab_size();
    info.hidden_size = 8;
    info.max_model_len = kMaxModelLen;
    info.num_blocks = 2048;
    info.max_num_seqs = 64;
    info.max_batch_tokens = 4096;
    info.eos_token_ids = tokenizer_->eog_ids();
    EngineConfig config;
    config.max_num_seqs = info.max_num_seqs;
    engine_ = MakeEngine(config, std::make_unique<testing::ScriptExecutor>(info, model_));
    engine_->Start();
  }

  void StartService() {
    ServerConfig config;
    config.tool_parser = "hermes";
    config.reasoning_parser = "think";
    config.log_requests = false;
    auto chat_template = ChatTemplate::Parse(DefaultChatTemplate(), "<s>", "</s>");
    Require(chat_template.has_value(), "the default template parses");
    auto keys = ApiKeys::Open({}, "");
    Require(keys.has_value(), "no keys are needed");
    service_ = std::make_shared<Service>(
        config, ModelInfo{.name = "tiny", .max_model_len = kMaxModelLen}, tokenizer_,
        std::shared_ptr<const ChatTemplate>(std::move(*chat_template)), std::move(*keys), *engine_);
  }

  std::shared_ptr<testing::TinyTokenizer> tokenizer_ = std::make_shared<testing::TinyTokenizer>();
  std::shared_ptr<testing::FakeModel> model_ = std::make_shared<testing::FakeModel>();
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Service> service_;
  Router router_;
  HarnessLoop loop_;
};

}  // namespace slipstream::fuzz
