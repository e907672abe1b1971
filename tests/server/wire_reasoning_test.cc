// W14, W25 and W32 of the wire contract: reasoning and its budget, token ids, unknown fields.
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

class WireReasoning : public Wire {
 protected:
  // `end` is what the template puts behind the conversation.
  void Start(const std::string& end = "") {
    template_source_ = "{% for m in messages %}{{ m.content }}\n{% endfor %}{# </think> #}" + end;
    StopServer();
    StartServer();
  }
  WireResponse ChatStream(json body) {
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    return Chat(body);
  }
};

TEST_F(WireReasoning, W32_BothNamesWholeAndStreamed) {
  Say("<think>\nHm, a\xC3\xA9.\n</think>\n\nSo b.");
  Start();
  const json whole = Chat(ChatBody()).json();
  const json& message = whole["choices"][0]["message"];
  EXPECT_EQ(message["content"], "So b.");
  EXPECT_EQ(message["reasoning_content"], "Hm, a\xC3\xA9.");
  EXPECT_EQ(message["reasoning"], "Hm, a\xC3\xA9.");
  const auto events = Events(ChatStream(ChatBody()).body);
  const JoinedChat streamed = JoinChat(events);
  EXPECT_EQ(streamed.content, "So b.");
  EXPECT_EQ(streamed.reasoning, "Hm, a\xC3\xA9.");
  EXPECT_EQ(streamed.finish, "stop");
  // The marks count.
  const json expected = tokenizer_->Script("<think>\nHm, a\xC3\xA9.\n</think>").size();
  EXPECT_EQ(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], expected);
  EXPECT_EQ(events[events.size() - 2]["usage"]["completion_tokens_details"]["reasoning_tokens"],
            expected);
}

TEST_F(WireReasoning, W32_ReasoningThatThePromptBegins) {
  Say("because.\n</think>\n\nYes.");
  Start("<think>\n");
  const json message = Chat(ChatBody()).json()["choices"][0]["message"];
  EXPECT_EQ(message["reasoning"], "because.");
  EXPECT_EQ(message["content"], "Yes.");
  EXPECT_EQ(JoinChat(Events(ChatStream(ChatBody()).body)).reasoning, "because.");
}

TEST_F(WireReasoning, W32_AnswersWithoutReasoning) {
  Say("Plain.");
  Start("<think>\n\n</think>\n\n");
  const json message = Chat(ChatBody()).json()["choices"][0]["message"];
  EXPECT_EQ(message["content"], "Plain.");
  EXPECT_FALSE(message.contains("reasoning"));
  config_.reasoning_parser = "none";
  Say("x</think>y");
  Start("<think>\n");
  const json all = ChatBody({{"skip_special_tokens", false}});
  EXPECT_EQ(Chat(all).json()["choices"][0]["message"]["content"], "x</think>y");
}

TEST_F(WireReasoning, ReasoningMayBeLeftOut) {
  Say("<think>secret</think>open");
  Start();
  for (const bool stream : {false, true}) {
    const WireResponse r = Chat(ChatBody({{"include_reasoning", false}, {"stream", stream}}));
    EXPECT_EQ(r.body.find("reasoning_content"), std::string::npos) << r.body;
    EXPECT_NE(r.body.find(stream ? "\"content\":\"o\"" : "\"content\":\"open\""), std::string::npos)
        << r.body;
  }
}

TEST_F(WireReasoning, BudgetEndsReasoning) {
  SayForever("abcdefghij");  // thinks for ever unless it is stopped
  Start("<think>\n");
  for (const int budget : {1, 5, 30}) {
    for (const char* name : {"thinking_token_budget", "thinking_budget"}) {
      // The end takes four tokens: a line break, the mark, two line breaks.
      const json body = ChatBody({{name, budget}, {"max_tokens", budget + 14}});
      const json whole = Chat(body).json();
      const json& message = whole["choices"][0]["message"];
      EXPECT_EQ(message["reasoning"].get<std::string>().size(), static_cast<size_t>(budget));
      EXPECT_EQ(message["content"].get<std::string>().size(), 10u) << whole;
      EXPECT_EQ(whole["usage"]["completion_tokens"], budget + 14);
      EXPECT_EQ(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], budget + 2);
      const JoinedChat streamed = JoinChat(Events(ChatStream(body).body));
      EXPECT_EQ(streamed.reasoning, message["reasoning"]);
      EXPECT_EQ(streamed.content, message["content"]);
      EXPECT_EQ(streamed.finish, "length");
    }
  }
}

TEST_F(WireReasoning, BudgetCountsFromTheModelsOwnOpening) {
  Say("<think>abcdef</think>done");
  Start();
  const auto message = [&](int budget) {
    return Chat(ChatBody({{"thinking_token_budget", budget}})).json()["choices"][0]["message"];
  };
  EXPECT_EQ(message(7)["reasoning"], "abcdef");  // the model was quicker
  EXPECT_EQ(message(7)["content"], "done");
  // The script goes on by its index: what was forced takes the place of "def</think>".
  EXPECT_EQ(message(3)["reasoning"], "abc");
  EXPECT_EQ(message(3)["content"], "done");
}

TEST_F(WireReasoning, BudgetOfNothing) {
  Say("done");
  Start("<think>\n");
  const json r = Chat(ChatBody({{"thinking_token_budget", 0}, {"return_token_ids", true}})).json();
  EXPECT_EQ(r["choices"][0]["message"]["content"], "done");
  EXPECT_FALSE(r["choices"][0]["message"].contains("reasoning"));
  const auto end = tokenizer_->Script("<think>\n</think>\n\n");  // Jinja drops a last line break
  const auto prompt = r["prompt_token_ids"].get<std::vector<int32_t>>();
  ASSERT_GT(prompt.size(), end.size());
  EXPECT_TRUE(std::equal(end.begin(), end.end(), prompt.end() - end.size())) << r;
}

TEST_F(WireReasoning, BudgetNeedsReasoning) {
  StartServer();
  EXPECT_EQ(Chat(ChatBody({{"thinking_token_budget", 5}})).error()["param"],
            "thinking_token_budget");
}

TEST_F(WireReasoning, ForcedCallsComeAfterReasoning) {
  Say(" {\"a\":1}}\n</tool_call>");
  Start("{# <tool_call> #}<think>\n");
  const json tool = {{"type", "function"},
                     {"function", {{"name", "f"}, {"parameters", {{"type", "object"}}}}}};
  const json message =
      Chat(ChatBody({{"tools", {tool}}, {"tool_choice", tool}})).json()["choices"][0]["message"];
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], "{\"a\":1}") << message;
  EXPECT_FALSE(message.contains("reasoning"));
}

TEST_F(WireReasoning, W14_TokenIdsOfCompletions) {
  Say("ab");
  StartServer();
  const json ids = {'a', 'b', *tokenizer_->eos_id()};
  const json hey = {*tokenizer_->bos_id(), 'h', 'e', 'y'};
  json body = {{"prompt", "hey"}, {"return_token_ids", true}};
  const json completion = Complete(body).json()["choices"][0];
  EXPECT_EQ(completion["token_ids"], ids);
  EXPECT_EQ(completion["prompt_token_ids"], hey);
  body["stream"] = true;
  json joined = json::array(), prompt;
  for (const json& event : Events(Complete(body).body)) {
    if (!event.is_object()) continue;
    for (const json& id : event["choices"][0]["token_ids"]) joined.push_back(id);
    if (event["choices"][0].contains("prompt_token_ids")) {
      EXPECT_TRUE(prompt.is_null());
      prompt = event["choices"][0]["prompt_token_ids"];
    }
  }
  EXPECT_EQ(joined, ids);
  EXPECT_EQ(prompt, hey);
}

TEST_F(WireReasoning, W14_TokenIdsOfChats) {
  Say("ab");
  StartServer();
  const json ids = {'a', 'b', *tokenizer_->eos_id()};
  const json chat = Chat(ChatBody({{"return_token_ids", true}})).json();
  EXPECT_EQ(chat["choices"][0]["token_ids"], ids);
  EXPECT_EQ(chat["prompt_token_ids"].size(), chat["usage"]["prompt_tokens"]);
  json joined = json::array();
  const auto events = Events(Chat(ChatBody({{"return_token_ids", true}, {"stream", true}})).body);
  EXPECT_EQ(events[0]["prompt_token_ids"], chat["prompt_token_ids"]);
  for (const json& event : events) {
    if (!event.is_object()) continue;
    for (const json& id : event["choices"][0].value("token_ids", json::array())) {
      joined.push_back(id);
    }
  }
  EXPECT_EQ(joined, ids);
  EXPECT_FALSE(Chat(ChatBody()).json().contains("prompt_token_ids"));
}

TEST_F(WireReasoning, W25_StrictFieldsRefusesUnknownOnes) {
  config_.strict_fields = true;
  StartServer();
  const WireResponse r = Chat(ChatBody({{"frobnicate", 1}}));
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(r.error()["param"], "frobnicate");
  EXPECT_EQ(Complete({{"prompt", "x"}, {"zap", 1}}).error()["param"], "zap");
  EXPECT_EQ(Chat(ChatBody({{"stream", true}, {"stream_options", {{"zap", 1}}}})).error()["param"],
            "stream_options.zap");
  const json message = {{"role", "user"}, {"content", "x"}, {"colour", "red"}};
  EXPECT_EQ(Chat({{"messages", {message}}}).error()["param"], "messages[0].colour");
  EXPECT_EQ(Chat(ChatBody({{"user", "me"}, {"seed", nullptr}, {"zap", nullptr}})).status, 200);
}

TEST_F(WireReasoning, W25_FieldsTheTemplateDoesNotKnowAreNamed) {
  const json tool = {{"type", "function"}, {"function", {{"name", "f"}}}};
  const json body =
      ChatBody({{"tools", {tool}}, {"reasoning_effort", "low"}, {"return_token_ids", true}});
  StartServer();
  EXPECT_EQ(Chat(body).headers.at("x-slipstream-ignored-fields"), "tools, reasoning_effort");
  Start("{{ reasoning_effort }}{{ tools | length }}");
  const WireResponse r = Chat(body);
  EXPECT_FALSE(r.headers.contains("x-slipstream-ignored-fields"));
  EXPECT_EQ(r.json()["prompt_token_ids"].size(), std::string("Hi\nlow1").size());
}

TEST_F(WireReasoning, W25_UnknownFieldsOfMessagesAreNamed) {
  StartServer();
  const json message = {{"role", "assistant"},
                        {"content", "x"},
                        {"colour", "red"},
                        {"refusal", nullptr},
                        {"audio", nullptr}};
  const WireResponse r = Chat({{"messages", {message}}});
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.headers.at("x-slipstream-ignored-fields"), "messages[0].colour");
}

}  // namespace
}  // namespace slipstream::testing
