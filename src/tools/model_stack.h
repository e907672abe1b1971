// What the subcommands that run a model need around the engine: tokenizer, chat template, names.
// Used on the main thread.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "loader/checkpoint.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {

struct TextStack {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;
  std::string template_source;  // where the template came from, for people
};

// The tokenizer that lies in the checkpoint's file or folder.
Result<std::shared_ptr<const Tokenizer>> OpenTokenizer(const Checkpoint& checkpoint);

// And its chat template; `template_file`, if not empty, wins over the model's own, and `tokenizer`
// (a folder or file) over the checkpoint's.
Result<TextStack> OpenTextStack(const Checkpoint& checkpoint, const std::string& template_file,
                                const std::string& tokenizer = {});

// The dtype that holds most bytes of the weight matrices, embeddings left out.
std::string MainDType(const Checkpoint& checkpoint);

}  // namespace slipstream
