// A real Server with a real Engine over a scripted model, on a free port of loopback.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "server/server.h"
#include "tests/server/fake_model.h"
#include "tests/server/tiny_tokenizer.h"
#include "tests/server/wire_client.h"
#include "tokenizer/chat_template.h"

namespace slipstream::testing {

using nlohmann::json;

class Wire : public ::testing::Test {
 protected:
  static constexpr int kMaxModelLen = 512;
  static constexpr int kHiddenSize = 8;

  Wire() {
    tokenizer_ = std::make_shared<TinyTokenizer>();
    model_ = std::make_shared<FakeModel>();
    Say("Hello world");
    config_.port = 0;
    config_.io_threads = 2;
    config_.log_requests = false;  // a thousand lines that hide the failure they are printed with
    engine_config_.max_num_seqs = 16;
    engine_config_.enable_prefix_caching = false;
  }
  ~Wire() override { StopServer(); }

  // Every sequence answers with `text`, then ends.
  void Say(const std::string& text) { SayTokens(tokenizer_->Script(text), true); }
  // Or with these tokens over and over, or once.
  void SayTokens(std::vector<int32_t> ids, bool then_eos) {
    const int32_t eos = *tokenizer_->eos_id();
    model_->script = [ids = std::move(ids), then_eos, eos](uint64_t, int index) {
      const auto i = static_cast<size_t>(index);
      if (i < ids.size()) return ids[i];
      return then_eos ? eos : ids[i % ids.size()];
    };
  }
  void SayForever(const std::string& text) { SayTokens(tokenizer_->Script(text), false); }

  void StartServer() {
    ExecutorInfo info;
    info.vocab_size = tokenizer_->vocab_size();
    info.hidden_size = kHiddenSize;
    info.max_model_len = max_model_len_;
    info.num_blocks = kNumBlocks;
    info.block_size_tokens = 16;
    info.max_num_seqs = engine_config_.max_num_seqs;
    info.max_batch_tokens = 2048;
    info.eos_token_ids = tokenizer_->eog_ids();
    engine_ = MakeEngine(engine_config_, std::make_unique<ScriptExecutor>(info, model_));
    engine_->Start();
    auto chat_template =
        ChatTemplate::Parse(template_source_, tokenizer_->bos_token(), tokenizer_->eos_token());
    ASSERT_TRUE(chat_template) << chat_template.error().message;
    ModelInfo model{.name = "tiny",
                    .aliases = {"small"},
                    .created = 1'700'000'000,
                    .max_model_len = max_model_len_,
                    .root = "models/tiny"};
    auto server =
        Server::Start(config_, model, tokenizer_,
                      std::shared_ptr<const ChatTemplate>(std::move(*chat_template)), *engine_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }

  void StopServer() {
    model_->Release();
    if (engine_) engine_->Stop(NowUs());
    server_.reset();
    engine_.reset();
  }

  uint16_t port() const { return server_->http_port(); }
  WireResponse Ask(const std::string& method, const std::string& path, const std::string& body = "",
                   const std::string& headers = "") {
    WireClient client(port());
    return client.Ask(method, path, body, headers);
  }
  WireResponse Chat(const json& body) { return Ask("POST", "/v1/chat/completions", body.dump()); }
  WireResponse Complete(const json& body) { return Ask("POST", "/v1/completions", body.dump()); }

  static json ChatBody(json more = json::object()) {
    json body = {{"model", "tiny"}, {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
    body.update(more);
    return body;
  }

  // Waits, without a limit that a slow machine could miss, until `condition` holds.
  template <typename F>
  static bool Eventually(F condition) {
    for (int i = 0; i < 20'000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
  bool PageHas(const std::string& line) {
    return Ask("GET", "/metrics").body.find(line) != std::string::npos;
  }
  // Lets a held model go on by one step at a time until so many sequences run: it is held again
  // long before they come to their ends.
  bool HoldWhenRunning(int sequences) {
    return Eventually([&] {
      if (engine_->metrics().running_sequences.value() >= sequences) return true;
      model_->HoldAfter(1);
      return false;
    });
  }
  // A file of this process: the tests of another build may run at the same time.
  static std::string TempPath(const std::string& name) {
    return fmt::format("{}slipstream_{}_{}", ::testing::TempDir(), getpid(), name);
  }
  bool BlocksComeBack() {
    return Eventually([&] {
      const EngineMetrics& metrics = engine_->metrics();
      return metrics.kv_blocks_used.value() == 0 && metrics.running_sequences.value() == 0 &&
             metrics.waiting_sequences.value() == 0;
    });
  }

  static constexpr int kNumBlocks = 512;
  int max_model_len_ = kMaxModelLen;
  std::shared_ptr<TinyTokenizer> tokenizer_;
  std::shared_ptr<FakeModel> model_;
  ServerConfig config_;
  EngineConfig engine_config_;
  std::string template_source_ = DefaultChatTemplate();
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Server> server_;
};

inline void ExpectErrorShape(const WireResponse& r) {
  const json e = r.error();
  ASSERT_TRUE(e.is_object()) << r.status << " " << r.body;
  EXPECT_TRUE(e["message"].is_string());
  EXPECT_FALSE(e["message"].get<std::string>().empty());
  EXPECT_TRUE(e["type"].is_string());
  EXPECT_TRUE(e.contains("param"));
  EXPECT_TRUE(e.contains("code"));
  EXPECT_EQ(r.headers.at("content-type"), "application/json");
  EXPECT_TRUE(r.headers.contains("x-request-id"));
}

// What the deltas of one choice of a chat stream make when joined, as a client would; the order and
// shape that clients rely on are expected on the way.
struct JoinedChat {
  std::string content, reasoning;
  json calls = json::array();
  std::string finish;

  void Add(const json& call) {
    if (call.contains("id")) {  // W33: the first delta of a call names it, later ones do not
      EXPECT_EQ(call["index"], calls.size()) << "W34";
      EXPECT_EQ(call["type"], "function");
      EXPECT_EQ(call["function"]["arguments"], "");
      calls.push_back(call);
      return;
    }
    ASSERT_EQ(call["index"], calls.size() - 1) << "W34";
    EXPECT_FALSE(call["function"].contains("name"));
    json& arguments = calls.back()["function"]["arguments"];
    arguments = arguments.get<std::string>() + call["function"]["arguments"].get<std::string>();
  }
};

inline JoinedChat JoinChat(const std::vector<json>& events, int index = 0) {
  JoinedChat joined;
  for (const json& event : events) {
    if (!event.is_object() || !event.contains("choices")) continue;
    for (const json& choice : event["choices"]) {
      if (choice["index"] != index) continue;
      const json& delta = choice["delta"];
      joined.content += delta.value("content", "");
      joined.reasoning += delta.value("reasoning_content", "");
      EXPECT_EQ(delta.value("reasoning", ""), delta.value("reasoning_content", ""));
      if (choice["finish_reason"].is_string()) joined.finish = choice["finish_reason"];
      for (const json& call : delta.value("tool_calls", json::array())) joined.Add(call);
    }
  }
  return joined;
}

// The text of one choice of a chat or completion stream.
inline std::string StreamedText(const std::vector<json>& events, int index = 0) {
  std::string text;
  for (const json& event : events) {
    if (!event.is_object() || !event.contains("choices")) continue;
    for (const json& choice : event["choices"]) {
      if (choice["index"] != index) continue;
      if (choice.contains("delta")) {
        text += choice["delta"].value("content", "");
      } else {
        text += choice.value("text", "");
      }
    }
  }
  return text;
}

}  // namespace slipstream::testing
