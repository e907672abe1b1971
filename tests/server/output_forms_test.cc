// Properties of all output parsers, the choice among them, and the JSON scanner below them.
#include "server/parsing/output_forms.h"

#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "server/parsing/json_scanner.h"
#include "tests/server/output_parser_fixture.h"

namespace slipstream::testing {
namespace {

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
                                           "<function=f>",
                                           "</function>",
                                           "<parameter=a>",
                                           "</parameter>",
                                           "<function=",
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
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    for (int n = random() % 14; n >= 0; --n) text += pieces[random() % pieces.size()];
    const auto form = static_cast<ToolForm>(random() % 8);
    OutputOptions options = Tools(random() % 4 != 0);
    options.starts_in_reasoning = random() % 4 == 0;
    if (random() % 2 == 0) {
      options.is_text = [](const std::string&, const std::string&) { return true; };
    }
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
  EXPECT_EQ(form("{{ '<tool_call><function=' }}"), ToolForm::kQwenXml);
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
    const Parsed named = Parse(Forms(form), OpeningOfCall(form, "f") + "{\"a\": 1}");
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
}  // namespace slipstream::testing
