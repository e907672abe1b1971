// A chat template: any Jinja source parses or is an error, and renders a conversation with every
// kind of message to text within the bounds, or to an error.
#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"
#include "tokenizer/chat_template.h"

namespace slipstream::fuzz {
namespace {

const ChatTemplate::Input& Conversation() {
  static const auto* input = [] {
    auto* made = new ChatTemplate::Input;
    made->messages = nlohmann::ordered_json::parse(R"([
      {"role":"system","content":"Be \"brief\" <b>"},
      {"role":"user","content":[{"type":"text","text":"Hi \u00e9"},{"type":"text","text":"\n"}]},
      {"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"c1",
        "type":"function","function":{"name":"f","arguments":"{\"a\":[1,2.5,null,true]}"}}]},
      {"role":"tool","tool_call_id":"c1","name":"f","content":"42"},
      {"role":"user","content":"  ok  "}])");
    made->tools = nlohmann::ordered_json::parse(R"([{"type":"function","function":{"name":"f",
      "description":"d","parameters":{"type":"object","properties":{"a":{"type":"array"}}}}}])");
    made->extra = nlohmann::ordered_json::parse(R"({"enable_thinking":false,"n":3})");
    made->now = 1'700'000'000;
    return made;
  }();
  return *input;
}

}  // namespace
}  // namespace slipstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipstream;  // NOLINT(google-build-using-namespace)
  const auto parsed = ChatTemplate::Parse(std::string(fuzz::Text(data, size)), "<s>", "</s>");
  if (!parsed) {
    fuzz::Require(!parsed.error().message.empty(), "an error says something");
    return 0;
  }
  const auto text = (*parsed)->Render(fuzz::Conversation());
  // The template's own text may have several lines.
  if (!text) fuzz::Require(!text.error().message.empty(), "an error says something");
  return 0;
}
