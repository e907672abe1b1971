// Everything below the server for one model: checkpoint, tokenizer, chat template, engine. Built by
// the subcommands that run a model, on the main thread.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "loader/checkpoint.h"
#include "runtime/local_executor.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"
#include "tools/options.h"

namespace slipstream {

struct TextStack {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;
  std::string template_source;  // "model" or "built-in chatml"
};

// The tokenizer and chat template that lie beside the weights of `checkpoint`.
Result<std::shared_ptr<const Tokenizer>> OpenTokenizer(const Checkpoint& checkpoint);
Result<TextStack> OpenTextStack(const Checkpoint& checkpoint);

}  // namespace slipstream
