// Every parser: what it makes of good and bad text, and that this does not depend on how the text
// was cut into pieces.
#include "tests/server/output_parser_fixture.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace slipstream::testing {
namespace {

TEST(HermesParser, OneCall) {
  const OutputForms hermes = Forms(ToolForm::kHermes);
  const std::vector<Call> call = {{"f", R"({"a": [1, {"b": "}"}]})"}};
  ExpectCalls(Parse(hermes,
                    "<tool_call>\n{\"name\": \"f\", \"arguments\": "
                    "{\"a\": [1, {\"b\": \"}\"}]}}\n</tool_call>"),
              call);
  // Keys in another order, further keys, no white space, text around, no end.
  ExpectCalls(Parse(hermes,
                    "Let me see.\n\n<tool_call>{\"arguments\":{\"a\": [1, {\"b\": \"}\"}]},"
                    "\"id\":-1.5e3,\"x\":[{}],\"name\":\"f\"}</tool_call>\n"),
              call, "Let me see.");
  ExpectCalls(Parse(hermes,
                    "a <tool_call> {\"name\": \"f\", \"arguments\": {\"a\": [1, {\"b\": "
                    "\"}\"}]}}"),
              call, "a");
  ExpectCalls(Parse(hermes, "<tool_call>{\"name\":\"f\"}</tool_call>"), {{"f", "{}"}});
  ExpectCalls(Parse(hermes, "<tool_call>{\"name\":\"f\",\"arguments\":null}</tool_call> done"),
              {{"f", "{}"}}, " done");
}

TEST(HermesParser, ManyCalls) {
  const std::string text =
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n"
      "<tool_call>\n{\"name\": \"other\", \"arguments\": {\"x\": \"\xE4\xB8\xAD\"}}\n</tool_call>"
      "<tool_call>{\"name\": \"f\", \"arguments\": {\"y\": 2}}";
  ExpectCalls(Parse(Forms(ToolForm::kHermes), text),
              {{"f", "{}"}, {"other", "{\"x\": \"\xE4\xB8\xAD\"}"}, {"f", "{\"y\": 2}"}});
  ExpectCalls(Parse(Forms(ToolForm::kHermes), text, Tools(false)), {{"f", "{}"}});
}

TEST(HermesParser, ArgumentsAreStreamedAndValid) {
  const auto parser = MakeOutputParser(Forms(ToolForm::kHermes), Tools());
  OutputEvents events;
  parser->Feed("<tool_call>{\"name\": \"f\", \"arguments\": {\"a", &events);
  EXPECT_THAT(events.list(),
              ::testing::ElementsAre(OutputEvent{OutputEvent::Kind::kCallBegin, 0, "f"},
                                     OutputEvent{OutputEvent::Kind::kArguments, 0, "{\"a"}));
  const Parsed repaired = Parse(Forms(ToolForm::kHermes),
                                "<tool_call>{\"name\": \"f\", \"arguments\": {\"re\": \"\\d\n\\u12"
                                "g\\u00e9\\'\\\"\\\\\"}}</tool_call>");
  ASSERT_EQ(repaired.calls.size(), 1u);
  const auto json = nlohmann::json::parse(repaired.calls[0].arguments, nullptr, false);
  EXPECT_EQ(json["re"], "\\d\n\\u12g\xC3\xA9'\"\\") << repaired.calls[0].arguments;
}

TEST(HermesParser, ArgumentsInAString) {
  ExpectCalls(Parse(Forms(ToolForm::kHermes),
                    R"(<tool_call>{"name": "f", "arguments": "{\"a\": 1}"}</tool_call>)"),
              {{"f", R"({"a": 1})"}});
}

TEST(HermesParser, BrokenTextIsContent) {
  for (const char* text :
       {"<tool_call>", "<tool_call>\n", "<tool_call>hello</tool_call>", "<tool_call>{}</tool_call>",
        "<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>", "<tool_cal", "a < b <",
        "<tool_call>{\"name\": \"f\", \"argu", "<tool_call>{\"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>", "   \n", "",
        "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>", "</tool_call>",
        "<tool_call>{'name': 'f'}</tool_call>"}) {
    ExpectCalls(Parse(Forms(ToolForm::kHermes), text), {}, text);
  }
  // A good call after a bad one.
  ExpectCalls(Parse(Forms(ToolForm::kHermes),
                    "<tool_call>oops</tool_call><tool_call>{\"name\":\"f\"}</tool_call>"),
              {{"f", "{}"}}, "<tool_call>oops</tool_call>");
}

TEST(HermesParser, BrokenArgumentsAreArguments) {
  ExpectCalls(Parse(Forms(ToolForm::kHermes),
                    "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":True}}\n</tool_call>b"),
              {{"f", "{\"a\":True}}"}}, "b");
  // Cut off: by max_tokens, say.
  ExpectCalls(
      Parse(Forms(ToolForm::kHermes), "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"x\\u00"),
      {{"f", "{\"a\":\"x\\u00"}});
  // Only the object around them is broken.
  ExpectCalls(Parse(Forms(ToolForm::kHermes),
                    "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}\n</tool_call>"),
              {{"f", "{\"a\":1}"}});
}

TEST(QwenXmlParser, ValuesBecomeJson) {
  OutputOptions options = Tools();
  options.is_text = [](const std::string& function, const std::string& parameter) {
    return function == "f" && parameter == "s";
  };
  const Parsed p =
      Parse(Forms(ToolForm::kQwenXml),
            "Ok.\n<tool_call>\n<function=f>\n<parameter=s>\n5\n \"q\"\\ \xC3\xA9 </p>\n"
            "</parameter>\n<parameter=n>\n5\n</parameter>\n<parameter=o>{\"a\": [true]}"
            "</parameter><parameter=t>some\ntext</parameter>\n</function>\n</tool_call>\n"
            "<tool_call><function=g></function></tool_call> bye",
            options);
  ASSERT_EQ(p.calls.size(), 2u) << ::testing::PrintToString(p);
  EXPECT_EQ(p.content, "Ok. bye");
  EXPECT_EQ(p.calls[0].name, "f");
  const auto json = nlohmann::json::parse(p.calls[0].arguments, nullptr, false);
  EXPECT_EQ(json, (nlohmann::json{{"s", "5\n \"q\"\\ \xC3\xA9 </p>"},
                                  {"n", 5},
                                  {"o", {{"a", nlohmann::json::array({true})}}},
                                  {"t", "some\ntext"}}))
      << p.calls[0].arguments;
  EXPECT_EQ(p.calls[1], (Call{"g", "{}"}));
}

TEST(QwenXmlParser, BrokenText) {
  for (const char* text :
       {"<tool_call>", "<tool_call>\n{\"name\": 1}", "<function=", "<function=f", "<function=a b>",
        "<function=>", "<tool_call><function", "</function>"}) {
    ExpectCalls(Parse(Forms(ToolForm::kQwenXml), text), {}, text);
  }
  ExpectCalls(Parse(Forms(ToolForm::kQwenXml), "<function=f>x<y</function></tool_call>z"),
              {{"f", "{x<y}"}}, "z");
  ExpectCalls(Parse(Forms(ToolForm::kQwenXml), "<function=f><parameter=a>\nx</para"),
              {{"f", "{\"a\": x</para"}});
}

TEST(LlamaParser, CallsFromTheFirstByteOn) {
  const OutputForms llama = Forms(ToolForm::kLlama);
  ExpectCalls(Parse(llama, R"({"name": "f", "parameters": {"a": "b"}})"), {{"f", R"({"a": "b"})"}});
  ExpectCalls(Parse(llama, R"( {"name": "f", "arguments": {}} )"), {{"f", "{}"}});
  ExpectCalls(Parse(llama, R"({"name": "f", "parameters": {}}; {"name": "get_weather"})"),
              {{"f", "{}"}, {"get_weather", "{}"}});
  ExpectCalls(Parse(llama, R"(<|python_tag|>{"name": "unknown", "parameters": {}})"),
              {{"unknown", "{}"}});
  ExpectCalls(Parse(llama, R"(So: <|python_tag|>{"name": "f", "parameters": {}})"), {{"f", "{}"}},
              "So:");
}

TEST(LlamaParser, JsonThatIsNoCall) {
  for (const char* text :
       {R"({"name": "Bob", "parameters": {}})", R"({"age": 5})", R"(He said {"name": "f"})",
        R"({"name": "f", "description": "x)", "<|python_tag|>print(1)", "; {", "{", "",
        R"(<|python_tag|>f.call(query="x"))"}) {
    ExpectCalls(Parse(Forms(ToolForm::kLlama), text), {}, text);
  }
  ExpectCalls(Parse(Forms(ToolForm::kLlama), R"({"name": "f", "parameters": {}}; and)"),
              {{"f", "{}"}}, "; and");
  ExpectCalls(Parse(Forms(ToolForm::kLlama), R"({"name": "f", "parameters": {"a": oops}})"),
              {{"f", R"({"a": oops}})"}});
}

TEST(MistralParser, Arrays) {
  const OutputForms mistral = Forms(ToolForm::kMistral);
  ExpectCalls(Parse(mistral, R"([TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, )"
                             R"({"name": "g", "arguments": {}}])"),
              {{"f", R"({"a": 1})"}, {"g", "{}"}});
  ExpectCalls(Parse(mistral, R"(Sure.[TOOL_CALLS][{"name": "f", "arguments": {}}] x)"),
              {{"f", "{}"}}, "Sure. x");
  ExpectCalls(Parse(mistral, R"([TOOL_CALLS]{"name": "f", "arguments": {}})"), {{"f", "{}"}});
  ExpectCalls(Parse(mistral, R"([TOOL_CALLS] [{"name": "f", "arguments": {}}, oops])"),
              {{"f", "{}"}}, ", oops]");
}

TEST(MistralParser, NamesBeforeArguments) {
  const OutputForms mistral = Forms(ToolForm::kMistralArgs);
  const std::vector<Call> two = {{"f", R"({"a": 1})"}, {"get_weather", "{}"}};
  ExpectCalls(Parse(mistral, R"([TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]get_weather[ARGS]{})"), two);
  ExpectCalls(Parse(mistral, R"([TOOL_CALLS]f[CALL_ID]abcDEF123[ARGS]{"a": 1})"
                             R"([TOOL_CALLS]get_weather{})"),
              two);
  ExpectCalls(
      Parse(mistral, R"(Hm. [TOOL_CALLS]f [ARGS] {"a": 1} [TOOL_CALLS]get_weather[ARGS]{})"), two,
      "Hm.");
}

TEST(MistralParser, BrokenTextIsContent) {
  for (const char* text : {"[TOOL_CALLS]", "[TOOL_CALLS] []", "[TOOL_CALLS] [", "[TOOL_CALLS]f",
                           "[TOOL_CALLS]f[ARGS]", "[TOOL_CALLS]f[ARGS]5", "[TOOL_CALLS]f g{}",
                           "[TOOL_CALLS] [5]", "[TOOL_CALLS]f[CALL_ID]abc", "[TOOL",
                           "[TOOL_CALLS]f[CALL_ID]abc[oops]", "[TOOL_CALLS](x)"}) {
    ExpectCalls(Parse(Forms(ToolForm::kMistral), text), {}, text);
  }
  ExpectCalls(Parse(Forms(ToolForm::kMistral), "[TOOL_CALLS]f[ARGS]{\"a\": oops} [TOOL_CALLS]g{}"),
              {{"f", "{\"a\": oops}"}, {"g", "{}"}});
}

TEST(DeepseekParser, BothForms) {
  const std::vector<Call> two = {{"f", R"({"a": 1})"}, {"get_weather", "{}"}};
  ExpectCalls(
      Parse(Forms(ToolForm::kDeepseek),
            "Let me see.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n"
            "```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function"
            "<｜tool▁sep｜>get_weather\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
      two, "Let me see.");
  ExpectCalls(Parse(Forms(ToolForm::kDeepseekBare),
                    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}"
                    "<｜tool▁call▁end｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{}"
                    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>\n"),
              two);
  ExpectCalls(Parse(Forms(ToolForm::kDeepseekBare),
                    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{}<｜tool▁call▁end｜>"),
              {{"function", "{}"}});
  ExpectCalls(Parse(Forms(ToolForm::kDeepseek),
                    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n{}\n``````"
                    "<｜tool▁call▁end｜>x"),
              {{"f", "{}"}}, "```<｜tool▁call▁end｜>x");
}

TEST(DeepseekParser, BrokenTextIsContent) {
  for (const char* text :
       {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>hello",
        "<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\nx\n```",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f", "<｜tool", "a｜b",
        "<｜tool▁call▁begin｜><｜tool▁sep｜>{}", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>5"}) {
    ExpectCalls(Parse(Forms(ToolForm::kDeepseek), text), {}, text);
  }
  ExpectCalls(
      Parse(Forms(ToolForm::kDeepseekBare),
            "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{oops}<｜tool▁call▁end｜><｜tool▁calls▁end｜>x"),
      {{"f", "{oops}"}}, "x");
}

TEST(AnyToolParser, OtherNamesAreContentWhereOnlyKnownOnesCount) {
  OutputOptions known = Tools();
  known.known_names_only = true;
  const std::vector<std::pair<ToolForm, std::string>> texts = {
      {ToolForm::kHermes, "<tool_call>{\"name\": \"zzz\", \"arguments\": {}}</tool_call>"},
      {ToolForm::kHermes, "<tool_call>{\"arguments\": {}, \"name\": \"zzz\"}</tool_call>"},
      {ToolForm::kQwenXml, "<tool_call><function=zzz></function></tool_call>"},
      {ToolForm::kLlama, "<|python_tag|>{\"name\": \"zzz\", \"parameters\": {}}"},
      {ToolForm::kMistral, "[TOOL_CALLS] [{\"name\": \"zzz\", \"arguments\": {}}]"},
      {ToolForm::kMistralArgs, "[TOOL_CALLS]zzz[ARGS]{}"},
      {ToolForm::kDeepseekBare, "<｜tool▁call▁begin｜>zzz<｜tool▁sep｜>{}<｜tool▁call▁end｜>"}};
  for (const auto& [form, text] : texts) {
    ExpectCalls(Parse(Forms(form), text, known), {}, text);
    EXPECT_EQ(Parse(Forms(form), text).calls.size(), 1u) << text;
    std::string good = text;
    good.replace(good.find("zzz"), 3, "f");
    EXPECT_EQ(Parse(Forms(form), good, known).calls.size(), 1u) << good;
  }
}

TEST(ReasoningParser, SplitsAndTrims) {
  const OutputForms think = Forms(ToolForm::kHermes, true);
  const auto expect = [&](const char* text, bool inside, const char* reasoning,
                          const char* content) {
    const Parsed p = Parse(think, text, {.tools = true, .starts_in_reasoning = inside});
    EXPECT_EQ(p.reasoning, reasoning) << text;
    EXPECT_EQ(p.content, content) << text;
  };
  expect("<think>\na\n\nb\n</think>\n\nc\n", false, "a\n\nb", "c\n");
  expect(" \n<think>a</think>c", false, "a", "c");
  expect("a\n</think>\n\nc", true, "a", "c");
  expect("\n<think>\na</think>c", true, "a", "c");
  expect("<think>\n\n</think>\n\nc", false, "", "c");
  expect("never ends < /think> </thin", true, "never ends < /think> </thin", "");
  expect("<think>a", false, "a", "");
  expect("  no thoughts <think>x</think>", false, "", "  no thoughts <think>x</think>");
  expect("<thin", false, "", "<thin");
  expect("<thin", true, "<thin", "");
  expect("", true, "", "");
  expect("</think>", true, "", "");
}

TEST(ReasoningParser, CallsComeAfterwards) {
  const Parsed p = Parse(Forms(ToolForm::kHermes, true),
                         "<think>use <tool_call>?</think>\n\n<tool_call>{\"name\":\"f\"}");
  EXPECT_EQ(p.reasoning, "use <tool_call>?");
  ExpectCalls(p, {{"f", "{}"}});
}

TEST(ReasoningParser, SaysWhereItIs) {
  const auto parser = MakeOutputParser(Forms(ToolForm::kNone, true), {});
  OutputEvents events;
  EXPECT_FALSE(parser->in_reasoning());
  parser->Feed("<think>", &events);
  EXPECT_TRUE(parser->in_reasoning());
  parser->Feed("x</think", &events);
  EXPECT_TRUE(parser->in_reasoning());
  parser->Feed(">", &events);
  EXPECT_FALSE(parser->in_reasoning());
}

}  // namespace
}  // namespace slipstream::testing
