#include "tools/inspect.h"

#include <cstdio>
#include <filesystem>

#include "loader/gguf_checkpoint.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"
#include "tools/inspect_tables.h"

namespace slipstream {
namespace {

Result<LoadFormat> FormatFrom(const std::string& name) {
  if (name == "auto") return LoadFormat::kAuto;
  if (name == "safetensors") return LoadFormat::kSafetensors;
  if (name == "gguf") return LoadFormat::kGguf;
  if (name == "dummy") return LoadFormat::kDummy;
  return InvalidArgument("load format '" + name + "' is not auto, safetensors, gguf or dummy",
                         "load_format");
}

// Where a checkpoint's tokenizer lies and what it calls itself.
struct TokenizerPlace {
  std::string path, kind;
};

TokenizerPlace FindTokenizer(const Checkpoint& checkpoint) {
  if (const auto* gguf = dynamic_cast<const GgufCheckpoint*>(&checkpoint); gguf != nullptr) {
    const auto model = gguf->gguf().StringOr("tokenizer.ggml.model", "none");
    const auto pre = gguf->gguf().StringOr("tokenizer.ggml.pre", "default");
    return {checkpoint.path(),
            fmt::format("GGUF '{}', pre-tokenizer '{}'", model.value_or("?"), pre.value_or("?"))};
  }
  std::filesystem::path folder = checkpoint.path();
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) folder = folder.parent_path();
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    if (std::filesystem::exists(folder / name, ignored)) return {folder.string(), name};
  }
  return {folder.string(), "none"};
}

std::string FirstLines(const std::string& text, int count) {
  size_t end = 0;
  for (int i = 0; i < count && end != std::string::npos; ++i) end = text.find('\n', end + 1);
  if (end == std::string::npos || end + 1 >= text.size()) return text;
  return fmt::format("{}\n... {} more bytes, --full shows them", text.substr(0, end),
                     text.size() - end);
}

std::string TemplateText(const Tokenizer& tokenizer, bool full, Warnings* warnings) {
  const std::string& source = tokenizer.chat_template();
  if (source.empty()) {
    warnings->push_back("the model brings no chat template: chats use a built-in one");
    return "Chat template: none\n";
  }
  const auto parsed = ChatTemplate::Parse(source, tokenizer.bos_token(), tokenizer.eos_token());
  if (!parsed) warnings->push_back("chat template: " + parsed.error().message);
  constexpr int kLines = 12;
  return fmt::format("Chat template ({} bytes)\n{}\n", source.size(),
                     full ? source : FirstLines(source, kLines));
}

std::string TokenizerText(const Checkpoint& checkpoint, bool full, Warnings* warnings) {
  const TokenizerPlace place = FindTokenizer(checkpoint);
  Table table;
  table.Add({"kind", place.kind});
  const auto tokenizer = MakeTokenizer(place.path);
  if (!tokenizer) {
    warnings->push_back("tokenizer: " + tokenizer.error().message);
    return "Tokenizer\n" + table.Text();
  }
  const Tokenizer& t = **tokenizer;
  table.Add({"tokens", std::to_string(t.vocab_size())});
  const auto add_token = [&](const char* name, int32_t id) {
    table.Add({name, fmt::format("{} {}", id, t.TokenBytes(id))});
  };
  if (t.bos_id()) add_token("bos", *t.bos_id());
  for (const int32_t id : t.eog_ids()) add_token("end", id);
  if (t.eog_ids().empty()) warnings->push_back("no token ends an answer: only max_tokens does");
  if (t.vocab_size() > checkpoint.config().vocab_size) {
    warnings->push_back(fmt::format("the tokenizer has {} tokens, the model {}", t.vocab_size(),
                                    checkpoint.config().vocab_size));
  }
  return "Tokenizer\n" + table.Text() + "\n" + TemplateText(t, full, warnings);
}

std::string WarningText(const Warnings& warnings) {
  std::string out = warnings.empty() ? "" : "\nWarnings\n";
  for (const std::string& w : warnings) out += "  " + w + "\n";
  return out;
}

}  // namespace

Result<std::string> InspectReport(const InspectOptions& options) {
  SLIP_ASSIGN_OR_RETURN(const LoadFormat format, FormatFrom(options.load_format));
  SLIP_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                        OpenCheckpoint(options.model, {.format = format}));
  Warnings warnings = TensorWarnings(*checkpoint);
  const std::string tokenizer = TokenizerText(*checkpoint, options.full, &warnings);
  return fmt::format("{}\n{}\n{}\n{}{}", ModelText(*checkpoint), QuantizationText(*checkpoint),
                     TensorText(*checkpoint, options.full), tokenizer, WarningText(warnings));
}

int RunInspect(const InspectOptions& options) {
  const auto report = InspectReport(options);
  if (!report) {
    std::fprintf(stderr, "error: %s\n", report.error().message.c_str());
    return 1;
  }
  std::fwrite(report->data(), 1, report->size(), stdout);
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  std::fprintf(stderr, "error: the report cannot be written to the standard output\n");
  return 1;
}

}  // namespace slipstream
