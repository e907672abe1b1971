// What ChatTemplate does around the language: preparing messages, errors, threads, the default.
#include "tokenizer/chat_template.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace slipstream {
namespace {

using Json = nlohmann::ordered_json;

std::string Render(const std::string& source, const ChatTemplate::Input& input) {
  auto parsed = ChatTemplate::Parse(source, "<s>", "</s>");
  if (!parsed) return std::move(parsed.error()).With("parse error").message;
  auto rendered = (*parsed)->Render(input);
  return rendered ? *rendered : std::move(rendered.error()).With("error").message;
}

std::string RenderMessages(const std::string& source, const char* messages) {
  ChatTemplate::Input input;
  input.messages = Json::parse(messages);
  return Render(source, input);
}

TEST(ChatTemplate, ToolArgumentsGivenAsTextBecomeObjects) {
  const char* source = "{{ messages[0].tool_calls[0].function.arguments.city }}";
  EXPECT_EQ(RenderMessages(source, R"([{"role": "assistant", "tool_calls": [
      {"function": {"name": "f", "arguments": "{\"city\": \"Bern\"}"}}]}])"),
            "Bern");
  EXPECT_EQ(RenderMessages(source, R"([{"role": "assistant", "tool_calls": [
      {"function": {"name": "f", "arguments": {"city": "Chur"}}}]}])"),
            "Chur");
}

TEST(ChatTemplate, EmptyToolArgumentsAreAnEmptyObjectAndBrokenOnesAnError) {
  const char* source = "{{ messages[0].tool_calls[0].function.arguments | tojson }}";
  EXPECT_EQ(RenderMessages(source, R"([{"role": "assistant", "tool_calls": [
      {"function": {"name": "f", "arguments": ""}}]}])"),
            "{}");
  EXPECT_EQ(RenderMessages(source, R"([{"role": "assistant", "tool_calls": [
      {"function": {"name": "f", "arguments": "{broken"}}]}])"),
            "error: tool call arguments are not valid JSON: {broken");
}

TEST(ChatTemplate, TextPartsAreJoinedUnlessTheTemplateLoopsOverContent) {
  const char* messages =
      R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])";
  EXPECT_EQ(RenderMessages("{{ messages[0].content }}", messages), "a\nb");
  EXPECT_EQ(RenderMessages("{% for m in messages %}{% for p in m.content %}<{{ p.text }}>"
                           "{% endfor %}{% endfor %}",
                           messages),
            "<a><b>");
}

TEST(ChatTemplate, PartsThatAreNotTextStayAList) {
  EXPECT_EQ(RenderMessages("{{ messages[0].content[0].type }}",
                           R"([{"role": "user", "content": [{"type": "image"}]}])"),
            "image");
}

TEST(ChatTemplate, NullContentIsEmptyUnlessTheTemplateKnowsNone) {
  const char* messages = R"([{"role": "assistant", "content": null, "name": null}])";
  EXPECT_EQ(RenderMessages("[{{ messages[0].content }}]", messages), "[]");
  EXPECT_EQ(RenderMessages("{{ 'content' in messages[0] }}{{ 'name' in messages[0] }}", messages),
            "TrueFalse");
  EXPECT_EQ(RenderMessages("{% if messages[0]['content'] is none %}none{% endif %}", messages),
            "none");
}

TEST(ChatTemplate, RaisedExceptionsAreInvalidArgumentsWithTheirText) {
  auto parsed = ChatTemplate::Parse("{{ raise_exception('Roles must alternate') }}", "", "");
  ASSERT_TRUE(parsed.has_value());
  const auto rendered = (*parsed)->Render({});
  ASSERT_FALSE(rendered.has_value());
  EXPECT_EQ(rendered.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(rendered.error().message, "Roles must alternate");
}

TEST(ChatTemplate, SyntaxErrorsNameTheLine) {
  const auto parsed = ChatTemplate::Parse("one\n{% if x %}\n{{ ) }}", "", "");
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(parsed.error().message, "chat template: template line 3: unexpected ')'");
}

TEST(ChatTemplate, MessagesOfTheWrongShapeAreErrors) {
  EXPECT_EQ(RenderMessages("x", "{}"), "error: messages must be a list");
  EXPECT_EQ(RenderMessages("x", "[1]"), "error: each message must be an object");
}

TEST(ChatTemplate, SpecialTokensToolsAndExtraArgumentsAreVariables) {
  ChatTemplate::Input input;
  input.tools = Json::parse(R"([{"type": "function"}])");
  input.extra = Json::parse(R"({"enable_thinking": false})");
  input.add_generation_prompt = false;
  EXPECT_EQ(Render("{{ bos_token }}{{ eos_token }}{{ tools[0].type }}{{ enable_thinking }}"
                   "{{ add_generation_prompt }}{{ documents }}",
                   input),
            "<s></s>functionFalseFalseNone");
}

TEST(ChatTemplate, ExtraArgumentsWinOverSpecialTokens) {
  ChatTemplate::Input input;
  input.extra = Json::parse(R"({"bos_token": "!"})");
  EXPECT_EQ(Render("{{ bos_token }}", input), "!");
}

TEST(ChatTemplate, DefaultIsChatMl) {
  ChatTemplate::Input input;
  input.messages = Json::parse(R"([{"role": "system", "content": "S"},
                                   {"role": "user", "content": "U"}])");
  EXPECT_EQ(Render(DefaultChatTemplate(), input),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(ChatTemplate, BrokenUtf8PassesThrough) {
  ChatTemplate::Input input;
  input.messages = Json::array({{{"role", "user"}, {"content", "a\xFF\xC3z"}}});
  EXPECT_EQ(Render("{{ messages[0].content | trim }}{{ messages[0].content | length }}", input),
            "a\xFF\xC3z4");
}

TEST(ChatTemplate, ManyThreadsRenderOneTemplate) {
  auto parsed = ChatTemplate::Parse(DefaultChatTemplate(), "", "");
  ASSERT_TRUE(parsed.has_value());
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      ChatTemplate::Input input;
      input.messages = Json::array({{{"role", "user"}, {"content", std::to_string(i)}}});
      for (int round = 0; round < 200; ++round) {
        results[i] = (*parsed)->Render(input).value_or("failed");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i],
              "<|im_start|>user\n" + std::to_string(i) + "<|im_end|>\n<|im_start|>assistant\n");
  }
}

}  // namespace
}  // namespace slipstream
