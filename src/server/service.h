// The server without a protocol: admission, tokenizing, the way to the engine and back, text and
// usage, drain. HTTP and gRPC are skins on it. Owned by Server; Generate is called on loop threads,
// everything else from any thread. No method throws; refusals reach the observer as errors:
// kResourceExhausted (queue full), kUnavailable (draining), kInvalidArgument (the request).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "config/server_config.h"
#include "engine/engine.h"
#include "grammar/grammar_compiler.h"
#include "server/api_keys.h"
#include "server/generation.h"
#include "server/model_info.h"
#include "server/parsing/output_forms.h"
#include "server/server_metrics.h"
#include "server/task_pool.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {

class ActiveGeneration;
class ChatTemplate;

class Service : public std::enable_shared_from_this<Service> {
 public:
  Service(const ServerConfig& config, ModelInfo model, std::shared_ptr<const Tokenizer> tokenizer,
          std::shared_ptr<const ChatTemplate> chat_template, std::shared_ptr<ApiKeys> keys,
          Engine& engine);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Loop thread. The observer may be told of a refusal before this returns.
  std::shared_ptr<Generation> Generate(EventLoop& loop, GenerateRequest request,
                                       std::shared_ptr<GenerationObserver> observer);

  // Runs `work` on a tokenizer thread, then `done` on the loop. False: the queue is full.
  bool RunOnPool(EventLoop& loop, std::function<void()> work, std::function<void()> done);

  // Ends the tokenizer threads. Call when every generation has ended.
  void Shutdown() {
    grammars_.Stop();
    pool_.Stop();
  }

  // New generations are refused with kUnavailable from now on.
  void BeginDrain() { draining_.store(true); }
  bool draining() const { return draining_.load(); }
  // Every open generation ends with `error` as its last event.
  void AbortAll(const Error& error);
  int64_t open_requests() const { return metrics_.open_requests.load(); }
  // Generations whose sinks the engine may still write to.
  int64_t live_generations() const { return live_generations_.load(); }

  // kUnavailable with the reason when the engine is stuck or has lost its device.
  Status Health() const;
  // Health, and kUnavailable while the server drains: whether new requests are welcome.
  Status Ready() const;
  bool KnowsModel(std::string_view name) const;

  const ModelInfo& model() const { return model_; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  const std::shared_ptr<const ChatTemplate>& chat_template() const { return chat_template_; }
  Engine& engine() const { return engine_; }
  ServerMetrics& metrics() { return metrics_; }
  const ServerMetrics& metrics() const { return metrics_; }
  const ServerConfig& config() const { return config_; }
  const std::shared_ptr<ApiKeys>& keys() const { return keys_; }
  // How the model writes tool calls and reasoning.
  const OutputForms& output_forms() const { return output_forms_; }

 private:
  friend class ActiveGeneration;

  // Places in the queue, one per prompt.
  bool Reserve(int64_t places);
  void Release(int64_t places);
  // Room for a prompt's tokens. A prompt larger than all of it gets in when nothing else waits.
  bool ReserveTokens(int64_t tokens);
  void ReleaseTokens(int64_t tokens) { metrics_.queued_tokens.fetch_sub(tokens); }
  void Register(const std::shared_ptr<ActiveGeneration>& generation);
  void Unregister(const ActiveGeneration* generation);
  // Engine::Submit; notes when the engine gets to work, for Health.
  Status SubmitToEngine(Request request);

  const ServerConfig config_;
  const ModelInfo model_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const std::shared_ptr<const ChatTemplate> chat_template_;
  const OutputForms output_forms_;
  const std::shared_ptr<ApiKeys> keys_;
  Engine& engine_;
  ServerMetrics metrics_;
  std::atomic<bool> draining_{false};
  std::atomic<int64_t> live_generations_{0};
  std::atomic<int64_t> busy_since_us_;  // when the engine last went from no request to one

  std::mutex registry_mutex_;
  std::unordered_map<const ActiveGeneration*, std::weak_ptr<ActiveGeneration>> registry_;

  GrammarCompiler grammars_;
  TaskPool pool_;  // last: its threads use everything above
};

}  // namespace slipstream
