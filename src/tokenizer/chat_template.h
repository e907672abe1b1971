// What: renders a model's chat template (Jinja) to the prompt text, byte for byte as Hugging Face's
//   apply_chat_template does with Python's Jinja2 (trim_blocks, lstrip_blocks, loop controls, the
//   generation tag, tojson, raise_exception, strftime_now). The engine is in jinja/.
// Owner: one per loaded model, const once parsed. Thread: Render from any thread at once.
// Fails: Parse with InvalidArgument naming the line; Render with InvalidArgument: the template's
//   own raise_exception text, an error of the template, or its bounds (steps, depth, memory), so
//   a hostile template ends in an error.
// Input, as vLLM and Hugging Face prepare it before rendering:
//   - tool_calls[].function.arguments given as JSON text are parsed to objects (empty text: {});
//   - keys of a message that are null are left out; a null or missing content is "", unless the
//     template itself compares content with none, then it is none;
//   - content that is a list of text parts is joined with newlines, unless the template loops over
//     content (vLLM's rule for its "openai" content format); lists with other parts stay lists.
// Source: jinja2 3.1.6 and transformers' chat_template_utils.py read for behaviour; no code taken.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/result.h"

namespace slipstream {

namespace jinja {
struct Tree;
}

class ChatTemplate {
 public:
  struct Input {
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    nlohmann::ordered_json tools;  // null if none
    bool add_generation_prompt = true;
    bool arguments_as_text = false;   // tool_calls[].function.arguments are shown as they are given
    nlohmann::ordered_json extra;     // chat_template_kwargs: an object, or null
    std::optional<int64_t> now = {};  // Unix time for strftime_now; default: the clock
  };

  static Result<std::unique_ptr<ChatTemplate>> Parse(std::string source, std::string bos_token,
                                                     std::string eos_token);
  ~ChatTemplate();
  ChatTemplate(const ChatTemplate&) = delete;
  ChatTemplate& operator=(const ChatTemplate&) = delete;

  Result<std::string> Render(const Input& input) const;

  // Whether the template loops over message content, so that it wants lists of parts.
  bool takes_parts() const { return takes_parts_; }
  const std::string& source() const { return source_; }

 private:
  ChatTemplate();

  std::string source_, bos_token_, eos_token_;
  std::unique_ptr<const jinja::Tree> tree_;
  bool takes_parts_ = false;
  bool knows_null_content_ = false;
};

// For models that bring no template: ChatML, the most common form.
const std::string& DefaultChatTemplate();

}  // namespace slipstream
