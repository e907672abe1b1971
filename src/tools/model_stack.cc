#include "tools/model_stack.h"

#include <filesystem>
#include <map>
#include <utility>

#include "base/whole_file.h"

namespace slipstream {
namespace {

Result<std::unique_ptr<ChatTemplate>> OpenTemplate(const Tokenizer& tokenizer,
                                                   const std::string& file, std::string* source) {
  std::string text = tokenizer.chat_template();
  *source = "the model's own";
  if (!file.empty()) {
    constexpr size_t kMaxBytes = size_t{16} << 20;
    auto read = ReadWholeFile(file, kMaxBytes, /*pipes=*/true);
    if (!read) return Fail(read.error().code, read.error().message, "chat_template_file");
    text = std::move(*read);
    *source = file;
  } else if (text.empty()) {
    text = DefaultChatTemplate();
    *source = "built-in chatml: the model brings none";
  }
  auto parsed = ChatTemplate::Parse(std::move(text), tokenizer.bos_token(), tokenizer.eos_token());
  if (!parsed) return tl::unexpected(std::move(parsed).error().With("chat template, " + *source));
  return parsed;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> OpenTokenizer(const Checkpoint& checkpoint) {
  if (checkpoint.format() == "gguf") return MakeTokenizer(checkpoint.path());
  std::filesystem::path folder = checkpoint.path();
  if (!std::filesystem::is_directory(folder)) folder = folder.parent_path();
  return MakeTokenizer(folder.string());
}

Result<TextStack> OpenTextStack(const Checkpoint& checkpoint, const std::string& template_file,
                                const std::string& tokenizer) {
  TextStack stack;
  SLIP_ASSIGN_OR_RETURN(stack.tokenizer,
                        tokenizer.empty() ? OpenTokenizer(checkpoint) : MakeTokenizer(tokenizer));
  SLIP_ASSIGN_OR_RETURN(stack.chat_template,
                        OpenTemplate(*stack.tokenizer, template_file, &stack.template_source));
  return stack;
}

std::string MainDType(const Checkpoint& checkpoint) {
  std::map<std::string, size_t> bytes;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    if (t.shape.size() > 1 && t.name.find("embed") == std::string::npos) {
      bytes[std::string(t.type_name())] += t.bytes;
    }
  }
  std::string best = "none";
  size_t most = 0;
  for (const auto& [name, n] : bytes) {
    if (n > most) most = n, best = name;
  }
  return best;
}

}  // namespace slipstream
