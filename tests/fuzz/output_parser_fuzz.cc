// The text of a model, as reasoning, tool calls and content. The first line of the input names the
// form; whatever the text, the events joined are the same however it is cut.
#include <array>

#include "server/parsing/output_forms.h"
#include "tests/fuzz/fuzz.h"

namespace slipstream::fuzz {
namespace {

constexpr std::array kForms = {ToolForm::kNone,     ToolForm::kHermes,      ToolForm::kQwenXml,
                               ToolForm::kLlama,    ToolForm::kMistral,     ToolForm::kMistralArgs,
                               ToolForm::kDeepseek, ToolForm::kDeepseekBare};

std::vector<OutputEvent> Parse(const OutputForms& forms, const OutputOptions& options,
                               const std::vector<std::string_view>& pieces) {
  const auto parser = MakeOutputParser(forms, options);
  OutputEvents events;
  for (const std::string_view piece : pieces) parser->Feed(piece, &events);
  parser->Finish(&events);
  int calls = 0;
  for (const OutputEvent& event : events.list()) {
    if (event.kind == OutputEvent::Kind::kCallBegin) {
      Require(event.call == calls++, "calls are counted from 0");
    } else if (event.kind == OutputEvent::Kind::kArguments) {
      Require(event.call + 1 == calls, "arguments belong to the call in hand");
    }
  }
  return events.list();
}

}  // namespace
}  // namespace slipstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipstream;  // NOLINT(google-build-using-namespace)
  std::string_view text = fuzz::Text(data, size);
  const std::string_view head = fuzz::TakeLine(&text);
  OutputForms forms;
  const auto flag = [&](char c) { return head.find(c) != std::string_view::npos; };
  if (!head.empty() && head[0] >= '0' && head[0] <= '7') forms.tools = fuzz::kForms[head[0] - '0'];
  if (flag('t')) forms.think_open = "<think>", forms.think_close = "</think>";
  OutputOptions options{.tools = !flag('n'),
                        .names = {"f", "get_weather"},
                        .known_names_only = flag('k'),
                        .parallel = !flag('s'),
                        .starts_in_reasoning = flag('t') && flag('r')};
  const auto whole = fuzz::Parse(forms, options, {text});
  fuzz::Require(fuzz::Parse(forms, options, fuzz::Cut(text, 1, 1)) == whole,
                "bytes make the whole");
  for (const uint64_t seed : {size, size + 7}) {
    fuzz::Require(fuzz::Parse(forms, options, fuzz::Cut(text, seed, 12)) == whole,
                  "pieces make the whole");
  }
  return 0;
}
