// Every parser: what it makes of good and bad text, and that this does not depend on how the text
// was cut into pieces.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "server/parsing/json_scanner.h"
#include "server/parsing/output_forms.h"

namespace slipstream {
namespace {

struct Call {
  std::string name, arguments;
  bool operator==(const Call&) const = default;
};

struct Parsed {
  std::string content, reasoning;
  std::vector<Call> calls;
  std::vector<OutputEvent> events;  // merged, in order
  bool operator==(const Parsed&) const = default;
};

void PrintTo(const Parsed& p, std::ostream* out) {
  *out << "content=" << p.content << "\nreasoning=" << p.reasoning;
  for (const Call& call : p.calls) *out << "\n" << call.name << "(" << call.arguments << ")";
}

Parsed Join(const OutputEvents& events) {
  Parsed parsed;
  parsed.events = events.list();
  for (const OutputEvent& event : events.list()) {
    switch (event.kind) {
      case OutputEvent::Kind::kContent:
        parsed.content += event.text;
        break;
      case OutputEvent::Kind::kReasoning:
        parsed.reasoning += event.text;
        break;
      case OutputEvent::Kind::kCallBegin:
        EXPECT_EQ(event.call, static_cast<int>(parsed.calls.size()));
        parsed.calls.push_back({event.text, ""});
        break;
      case OutputEvent::Kind::kArguments:
        EXPECT_EQ(event.call + 1, static_cast<int>(parsed.calls.size()));
        if (!parsed.calls.empty()) parsed.calls.back().arguments += event.text;
    }
  }
  return parsed;
}

OutputForms Forms(ToolForm tools, bool think = false) {
  OutputForms forms;
  forms.tools = tools;
  if (think) {
    forms.think_open = "<think>";
    forms.think_close = "</think>";
  }
  return forms;
}

OutputOptions Tools(bool parallel = true) {
  return {.tools = true, .names = {"f", "get_weather"}, .parallel = parallel};
}

Parsed ParsePieces(const OutputForms& forms, const OutputOptions& options,
                   const std::vector<std::string_view>& pieces) {
  const auto parser = MakeOutputParser(forms, options);
  OutputEvents events;
  for (const std::string_view piece : pieces) parser->Feed(piece, &events);
  parser->Finish(&events);
  return Join(events);
}

// Whole, byte by byte, in two at every place, and in random pieces: always the same.
Parsed Parse(const OutputForms& forms, std::string_view text, OutputOptions options = Tools()) {
  const Parsed whole = ParsePieces(forms, options, {text});
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
  EXPECT_EQ(ParsePieces(forms, options, bytes), whole) << text;
  for (size_t i = 0; i <= text.size(); ++i) {
    EXPECT_EQ(ParsePieces(forms, options, {text.substr(0, i), text.substr(i)}), whole)
        << text.substr(0, i) << " | " << text.substr(i);
  }
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::string_view> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 9;
      pieces.push_back(text.substr(at, n));
      at += n;
    }
    EXPECT_EQ(ParsePieces(forms, options, pieces), whole) << text;
  }
  return whole;
}

void ExpectCalls(const Parsed& parsed, const std::vector<Call>& calls,
                 const std::string& content = "") {
  EXPECT_EQ(parsed.calls, calls) << ::testing::PrintToString(parsed);
  EXPECT_EQ(parsed.content, content);
}

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

// Text made of the pieces that matter, in random order: nothing crashes, no cut changes anything.
TEST(AnyParser, RandomTextUnderRandomCuts) {
  const std::vector<std::string> pieces = {"<tool_call>",
                                           "</tool_call>",
                                           "<|python_tag|>",
                                           "[TOOL_CALLS]",
                                           "[ARGS]",
                                           "[CALL_ID]",
                                           "<｜tool▁calls▁begin｜>",
                                           "<｜tool▁calls▁end｜>",
                                           "<｜tool▁call▁begin｜>",
                                           "<｜tool▁call▁end｜>",
                                           "<｜tool▁sep｜>",
                                           "```json",
                                           "```",
                                           "function",
                                           "\n",
                                           " ",
                                           "f",
                                           "{",
                                           "}",
                                           "[",
                                           "]",
                                           ",",
                                           ":",
                                           ";",
                                           "\"name\": \"f\"",
                                           "\"arguments\": ",
                                           "{\"a\": 1}",
                                           "{\"name\": \"f\", \"arguments\": {",
                                           "\"",
                                           "\\",
                                           "u00e9",
                                           "true",
                                           "-1.5",
                                           "1",
                                           "null",
                                           "<think>",
                                           "</think>",
                                           "<",
                                           "text",
                                           "\xC3\xA9"};
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int n = random() % 14; n >= 0; --n) text += pieces[random() % pieces.size()];
    const auto form = static_cast<ToolForm>(random() % 7);
    OutputOptions options = Tools(random() % 4 != 0);
    options.starts_in_reasoning = random() % 4 == 0;
    const OutputForms forms = Forms(form, random() % 2 == 0);
    const Parsed whole = ParsePieces(forms, options, {text});
    for (int cuts = 0; cuts < 6; ++cuts) {
      std::vector<std::string_view> parts;
      for (size_t at = 0; at < text.size();) {
        const size_t n = 1 + random() % (cuts < 2 ? 2 : 12);
        parts.push_back(std::string_view(text).substr(at, n));
        at += n;
      }
      ASSERT_EQ(ParsePieces(forms, options, parts), whole) << text;
    }
  }
}

// What is not part of a form comes out: no letter of content between good calls is lost.
TEST(AnyParser, NothingButFormsIsLost) {
  const std::vector<std::string> pieces = {"<tool_call>", "</tool_call>", "{",      "}",
                                           "\"name\"",    "abc",          "<think", ":",
                                           "\n",          "[TOOL_CALLS]", "\"f\"",  ","};
  std::mt19937 random(5);
  const auto bare = [](std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (!IsSpace(c)) out += c;
    }
    return out;
  };
  int without_calls = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int n = random() % 10; n >= 0; --n) text += pieces[random() % pieces.size()];
    for (const ToolForm form : {ToolForm::kHermes, ToolForm::kMistral, ToolForm::kLlama}) {
      const Parsed p = ParsePieces(Forms(form), Tools(), {text});
      if (!p.calls.empty()) continue;
      ++without_calls;
      EXPECT_EQ(bare(p.content), bare(text));
    }
  }
  EXPECT_GT(without_calls, 1000);
}

TEST(AnyParser, LongWhiteSpaceIsNotHeldBackForEver) {
  const std::string text = "a" + std::string(100'000, '\n') + "<tool_call>{\"name\":\"f\"}";
  const Parsed whole = ParsePieces(Forms(ToolForm::kHermes, true), Tools(), {text});
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < text.size(); ++i) bytes.push_back(std::string_view(text).substr(i, 1));
  EXPECT_EQ(ParsePieces(Forms(ToolForm::kHermes, true), Tools(), bytes), whole);
  EXPECT_EQ(whole.calls.size(), 1u);
  EXPECT_EQ(whole.content.size(), 1 + 100'000 - kMaxHeldSpace);
}

TEST(OutputForms, ChosenFromTheTemplate) {
  const auto form = [](const char* source) {
    const auto forms = ChooseOutputForms("auto", "auto", source);
    EXPECT_TRUE(forms);
    return forms->tools;
  };
  EXPECT_EQ(form("{{ '<tool_call>' }}"), ToolForm::kHermes);
  EXPECT_EQ(form("{{ '<tool_call><function=' }}"), ToolForm::kNone);
  EXPECT_EQ(form("[TOOL_CALLS] ["), ToolForm::kMistral);
  EXPECT_EQ(form("[TOOL_CALLS]x[ARGS]"), ToolForm::kMistralArgs);
  EXPECT_EQ(form("<|start_header_id|> \"parameters\": "), ToolForm::kLlama);
  EXPECT_EQ(form("<｜tool▁call▁begin｜>```json"), ToolForm::kDeepseek);
  EXPECT_EQ(form("<｜tool▁call▁begin｜>"), ToolForm::kDeepseekBare);
  EXPECT_EQ(form("nothing"), ToolForm::kNone);
  EXPECT_EQ(ChooseOutputForms("hermes", "auto", "")->tools, ToolForm::kHermes);
  EXPECT_EQ(ChooseOutputForms("none", "auto", "<tool_call>")->tools, ToolForm::kNone);
  EXPECT_TRUE(ChooseOutputForms("auto", "auto", "split('</think>')")->reasons());
  EXPECT_EQ(ChooseOutputForms("auto", "auto", "[/THINK]")->think_open, "[THINK]");
  EXPECT_FALSE(ChooseOutputForms("auto", "none", "</think>")->reasons());
  EXPECT_EQ(ChooseOutputForms("x", "auto", "").error().param, "tool_parser");
  EXPECT_EQ(ChooseOutputForms("auto", "x", "").error().param, "reasoning_parser");
}

// What a prompt may end with, the parser understands: with it and the rest a call is whole.
TEST(OutputForms, OpeningsAreWhatParsersRead) {
  for (const ToolForm form :
       {ToolForm::kHermes, ToolForm::kLlama, ToolForm::kMistral, ToolForm::kMistralArgs,
        ToolForm::kDeepseek, ToolForm::kDeepseekBare}) {
    const Parsed named = Parse(Forms(form), OpeningOfCall(form, "f") + " {\"a\": 1}");
    ExpectCalls(named, {{"f", "{\"a\": 1}"}});
    const std::string full = OpeningOfCall(form, "f"), any = OpeningOfCall(form, "");
    EXPECT_TRUE(full.starts_with(any)) << full << "\n" << any;
  }
}

TEST(OutputForms, IdsAreUnique) {
  EXPECT_EQ(NewCallId(ToolForm::kMistral).size(), 9u);
  EXPECT_TRUE(NewCallId(ToolForm::kHermes).starts_with("call_"));
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(NewCallId(ToolForm::kHermes));
  EXPECT_EQ(ids.size(), 1000u);
}

TEST(JsonScanner, AcceptsWhatAJsonParserAccepts) {
  const std::vector<std::string> pieces = {"{",     "}",    "[", "]",   ",",  ":",
                                           "\"a\"", "1",    "-", "0.5", "e3", "true",
                                           "null",  "fals", " ", "\n",  "\"", "x"};
  std::mt19937 random(3);
  int good = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = random() % 2 == 0 ? "{\"a\":" : "[";
    for (int n = random() % 6; n >= 0; --n) text += pieces[random() % pieces.size()];
    text += text[0] == '{' ? "}" : "]";
    JsonScanner scanner;
    std::string out;
    auto step = JsonScanner::Step::kMore;
    size_t i = 0;
    while (i < text.size() && step == JsonScanner::Step::kMore) {
      step = scanner.Push(text[i], &out);
      if (step != JsonScanner::Step::kBad) ++i;
    }
    const bool whole = step == JsonScanner::Step::kEnd && i == text.size();
    // Control characters in strings are repaired, so it is the output that must be JSON.
    if (whole) {
      ++good;
      EXPECT_TRUE(nlohmann::json::accept(out)) << text << "\n" << out;
    } else {
      EXPECT_FALSE(nlohmann::json::accept(text)) << text;
    }
  }
  EXPECT_GT(good, 500);
}

}  // namespace
}  // namespace slipstream
