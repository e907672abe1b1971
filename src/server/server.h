// The whole front end: HTTP with the OpenAI API, gRPC when asked for, metrics, health, drain. Owned
// by tools; the engine must outlive it. Start, Wait and Stop from one thread, the rest from any.
// Start fails when an address cannot be bound, a key or certificate file cannot be read or a parser
// is not known; nothing else does.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "config/server_config.h"
#include "engine/engine.h"
#include "server/model_info.h"

namespace slipstream {

class ChatTemplate;
class Tokenizer;

class Server {
 public:
  // `chat_template` may be null: chats are then refused with a clear message.
  static Result<std::unique_ptr<Server>> Start(ServerConfig config, ModelInfo model,
                                               std::shared_ptr<const Tokenizer> tokenizer,
                                               std::shared_ptr<const ChatTemplate> chat_template,
                                               Engine& engine);
  virtual ~Server() = default;

  virtual uint16_t http_port() const = 0;
  virtual uint16_t grpc_port() const = 0;  // 0: no gRPC

  // Reads keys and certificates again, for requests and connections to come. On an error what could
  // not be read stays as it was, and the error names the file.
  virtual Status Reload() = 0;

  // New requests get 503 and /ready fails from now on; open ones may finish for `grace` seconds,
  // then end with an error as their last event.
  virtual void BeginDrain(double grace_seconds) = 0;
  // Returns when a drain has ended: every answer is written or given up.
  virtual void Wait() = 0;
  // Closes everything at once and joins all threads.
  virtual void Stop() = 0;
};

}  // namespace slipstream
