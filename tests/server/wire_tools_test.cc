// W29 and W33 to W37 of the wire contract: tool calls, whole and streamed, in every form.
#include <set>

#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

// A template that only shows by its text which form the model writes.
std::string TemplateWith(const std::string& markers) {
  return "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
         "{% if tools %}{{ tools | length }} tools\n{% endif %}{# " +
         markers + " #}";
}

json Function(const std::string& name) {
  return {{"type", "function"},
          {"function", {{"name", name}, {"parameters", {{"type", "object"}}}}}};
}

json ChoiceOf(const std::string& name) {
  return {{"type", "function"}, {"function", {{"name", name}}}};
}

struct Form {
  const char* markers;
  const char* says;   // two calls: f({"a": [1, "}"]}) and g({})
  const char* rest;   // of a call of f after the opening of any call
  const char* named;  // after the opening of a call of g
};

const std::vector<Form>& Forms() {
  static const std::vector<Form> forms = {
      {"<tool_call>",
       "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, \"}\"]}}\n</tool_call>\n"
       "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>",
       "f\", \"arguments\": {\"a\": 1}}\n</tool_call>", " {\"b\": 2}}\n</tool_call> and more"},
      {"<tool_call><function=",
       "<tool_call>\n<function=f>\n<parameter=a>\n[1, \"}\"]\n</parameter>\n</function>\n"
       "</tool_call>\n<tool_call>\n<function=g>\n</function>\n</tool_call>",
       "f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
       "<parameter=b>\n2\n</parameter>\n</function>\n</tool_call> and more"},
      {"<|python_tag|>",
       "{\"name\": \"f\", \"parameters\": {\"a\": [1, \"}\"]}}; {\"name\": \"g\", \"parameters\": "
       "{}}",
       "f\", \"parameters\": {\"a\": 1}}", " {\"b\": 2}} and more"},
      {"[TOOL_CALLS]",
       "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": [1, \"}\"]}}, {\"name\": \"g\", "
       "\"arguments\": {}}]",
       "f\", \"arguments\": {\"a\": 1}}]", " {\"b\": 2}}] and more"},
      {"[TOOL_CALLS] [ARGS]", "[TOOL_CALLS]f[ARGS]{\"a\": [1, \"}\"]}[TOOL_CALLS]g[ARGS]{}",
       "f[ARGS]{\"a\": 1}", "{\"b\": 2} and more"},
      {"<｜tool▁call▁begin｜> ```json",
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": [1, "
       "\"}\"]}"
       "\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```"
       "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
       "f\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
       "{\"b\": 2}\n```<｜tool▁call▁end｜> and more"},
      {"<｜tool▁call▁begin｜>",
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": [1, "
       "\"}\"]}<｜tool▁call▁end｜>"
       "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
       "f<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
       "{\"b\": 2}<｜tool▁call▁end｜> and more"}};
  return forms;
}

class WireTools : public Wire {
 protected:
  static json ToolBody(json more = json::object()) {
    json body = ChatBody({{"tools", {Function("f"), Function("g")}}});
    body.update(more);
    return body;
  }
  static json Streamed(json body) {
    body["stream"] = true;
    return body;
  }
  void Start(const std::string& markers, const std::string& says) {
    StopServer();
    template_source_ = TemplateWith(markers);
    Say(says);
    StartServer();
  }
  json Choice(const json& body) {
    const WireResponse r = Chat(body);
    EXPECT_EQ(r.status, 200) << r.body;
    return r.json()["choices"][0];
  }
  JoinedChat Join(const json& body) { return JoinChat(Events(Chat(Streamed(body)).body)); }
};

TEST_F(WireTools, W33_W35_EveryFormStreamsWhatItAnswersWhole) {
  for (const Form& form : Forms()) {
    SCOPED_TRACE(form.markers);
    Start(form.markers, form.says);
    const json message = Choice(ToolBody())["message"];
    const JoinedChat streamed = Join(ToolBody());
    EXPECT_TRUE(message["content"].is_null());
    EXPECT_EQ(streamed.content, "");
    ASSERT_EQ(message["tool_calls"].size(), 2u) << message;
    ASSERT_EQ(streamed.calls.size(), 2u);
    std::set<std::string> ids;
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(message["tool_calls"][i]["function"], streamed.calls[i]["function"]);
      for (const json& call : {message["tool_calls"][i], streamed.calls[i]}) {
        EXPECT_EQ(call["type"], "function");
        ids.insert(call["id"].get<std::string>());
      }
    }
    EXPECT_EQ(ids.size(), 4u);
    const json& f = message["tool_calls"][0]["function"];
    EXPECT_EQ(f["name"], "f");
    EXPECT_EQ(json::parse(f["arguments"].get<std::string>()), json::parse(R"({"a": [1, "}"]})"));
    EXPECT_EQ(message["tool_calls"][1]["function"]["arguments"], "{}");
    EXPECT_EQ(streamed.finish, "tool_calls");
  }
}

TEST_F(WireTools, W34_IndexCountsUpPerCall) {
  Start("<tool_call>", Forms()[0].says);
  std::vector<int> opened;
  int last = -1;
  for (const json& event : Events(Chat(Streamed(ToolBody())).body)) {
    if (!event.is_object() || !event["choices"][0]["delta"].contains("tool_calls")) continue;
    for (const json& call : event["choices"][0]["delta"]["tool_calls"]) {
      if (call.contains("id")) opened.push_back(call["index"]);
      EXPECT_GE(call["index"], last) << "a call goes on after another began";
      last = call["index"];
    }
  }
  EXPECT_EQ(opened, (std::vector<int>{0, 1}));
}

TEST_F(WireTools, W35_ArgumentsComeAsTheyAreWritten) {
  Start("<tool_call>",
        "<tool_call>{\"name\":\"f\",\"arguments\":{\"text\":\"abcdef\"}}</tool_call>");
  int fragments = 0;
  for (const json& event : Events(Chat(Streamed(ToolBody())).body)) {
    if (event.is_object() && event["choices"][0]["delta"].contains("tool_calls")) ++fragments;
  }
  EXPECT_GT(fragments, 15);  // one per token
}

TEST_F(WireTools, W36_FinishReasons) {
  Start("<tool_call>", Forms()[0].says);
  EXPECT_EQ(Choice(ToolBody())["finish_reason"], "tool_calls");
  const json cut = ToolBody({{"max_tokens", 50}});
  EXPECT_EQ(Choice(cut)["finish_reason"], "length");
  EXPECT_EQ(Choice(cut)["message"]["tool_calls"][0]["function"]["name"], "f");
  EXPECT_EQ(Join(cut).finish, "length");
  Say("no call");
  EXPECT_EQ(Choice(ToolBody())["finish_reason"], "stop");
  EXPECT_FALSE(Choice(ToolBody())["message"].contains("tool_calls"));
}

TEST_F(WireTools, W37_ParallelFalseKeepsTheFirstCall) {
  for (const Form& form : Forms()) {
    SCOPED_TRACE(form.markers);
    Start(form.markers, form.says);
    const json body = ToolBody({{"parallel_tool_calls", false}});
    const json message = Choice(body)["message"];
    ASSERT_EQ(message["tool_calls"].size(), 1u) << message;
    EXPECT_EQ(message["tool_calls"][0]["function"]["name"], "f");
    EXPECT_EQ(Join(body).calls.size(), 1u);
  }
}

TEST_F(WireTools, W29_NoToolsNoCalls) {
  Start("<tool_call>", Forms()[0].says);
  EXPECT_EQ(Choice(ChatBody())["message"]["content"], Forms()[0].says);
  const json none = ToolBody({{"tool_choice", "none"}});
  EXPECT_EQ(Choice(none)["message"]["content"], Forms()[0].says);
  EXPECT_EQ(Choice(none)["finish_reason"], "stop");
  EXPECT_EQ(Join(none).content, Forms()[0].says);
}

// The model goes on where the prompt ends.
TEST_F(WireTools, W29_RequiredBeginsTheCall) {
  for (const Form& form : Forms()) {
    SCOPED_TRACE(form.markers);
    Start(form.markers, form.rest);
    const json body = ToolBody({{"tool_choice", "required"}});
    const json choice = Choice(body);
    ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u) << choice;
    EXPECT_EQ(choice["message"]["tool_calls"][0]["function"],
              (json{{"name", "f"}, {"arguments", "{\"a\": 1}"}}));
    EXPECT_EQ(choice["finish_reason"], "tool_calls");
    const JoinedChat streamed = Join(body);
    ASSERT_EQ(streamed.calls.size(), 1u);
    EXPECT_EQ(streamed.calls[0]["function"], choice["message"]["tool_calls"][0]["function"]);
    EXPECT_EQ(streamed.finish, "tool_calls");
  }
}

// Of a single function a required call is a named one, but for its finish reason.
TEST_F(WireTools, W29_RequiredOfOneFunctionBeginsItsArguments) {
  Start("<tool_call>", " {\"a\": 1}}\n</tool_call>");
  const json body = ToolBody({{"tools", {Function("f")}}, {"tool_choice", "required"}});
  EXPECT_EQ(Choice(body)["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\": 1}");
  EXPECT_EQ(Join(body).finish, "tool_calls");
}

TEST_F(WireTools, W36_NamedEndsWithStop) {
  const json body = ToolBody({{"tool_choice", ChoiceOf("g")}});
  for (const Form& form : Forms()) {
    SCOPED_TRACE(form.markers);
    Start(form.markers, form.named);
    const json choice = Choice(body);
    ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u) << choice;
    EXPECT_TRUE(choice["message"]["content"].is_null()) << choice;
    EXPECT_EQ(choice["message"]["tool_calls"][0]["function"],
              (json{{"name", "g"}, {"arguments", "{\"b\": 2}"}}));
    EXPECT_EQ(choice["finish_reason"], "stop");
    const JoinedChat streamed = Join(body);
    ASSERT_EQ(streamed.calls.size(), 1u);
    EXPECT_EQ(streamed.calls[0]["function"], choice["message"]["tool_calls"][0]["function"]);
    EXPECT_EQ(streamed.finish, "stop");
    EXPECT_EQ(streamed.content, "");
  }
}

TEST_F(WireTools, W29_NamedStopsBehindItsCall) {
  Start("<tool_call>", "");
  SayForever(" {}}\n</tool_call> and so on");
  const json choice = Choice(ToolBody({{"tool_choice", ChoiceOf("g")}}));
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["arguments"], "{}");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["stop_reason"].is_null()) << choice;  // the stop string is not the client's
  EXPECT_TRUE(BlocksComeBack());
}

// The answer has what there is of the call; its finish reason says that the call is not to be made.
TEST_F(WireTools, W29_AStopOfTheClientEndsAForcedCall) {
  Start("<tool_call>", "f\", \"arguments\": {\"a\": 1}}\n</tool_call>");
  const auto expect = [&](const json& more, const json& calls, const char* finish) {
    json body = ToolBody({{"tool_choice", "required"}});
    body.update(more);
    const json choice = Choice(body);
    EXPECT_EQ(choice["finish_reason"], finish) << choice;
    json got = json::array();
    for (const json& call : choice["message"].value("tool_calls", json::array())) {
      got.push_back(call["function"]);
    }
    EXPECT_EQ(got, calls);
    EXPECT_EQ(choice["message"]["content"], calls.empty() ? json("") : json()) << choice;
    if (more.contains("stop")) {
      EXPECT_EQ(choice["stop_reason"], more["stop"]);
    }
    const JoinedChat streamed = Join(body);
    EXPECT_EQ(streamed.finish, finish);
    EXPECT_EQ(streamed.content, "");
    ASSERT_EQ(streamed.calls.size(), calls.size());
    for (size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(streamed.calls[i]["function"], calls[i]);
  };
  const auto call = [](const char* arguments) {
    return json::array({json{{"name", "f"}, {"arguments", arguments}}});
  };
  expect({{"stop", "f"}}, json::array(), "stop");  // in the name
  expect({{"stop", "1"}}, call("{\"a\": "), "stop");
  expect({{"stop", "}\n"}}, call("{\"a\": 1}"), "tool_calls");  // behind the arguments
  expect({{"max_tokens", 1}}, json::array(), "length");
  // The same of a named function, whose end is a stop of the server's own.
  Start("<tool_call>", " {\"b\": 2}}\n</tool_call>");
  expect({{"tool_choice", ChoiceOf("f")}, {"stop", "2"}}, call("{\"b\": "), "stop");
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(WireTools, W29_ToolChoiceIsChecked) {
  Start("<tool_call>", "x");
  for (const json& choice : {json("sometimes"), json(5), json{{"type", "function"}},
                             json{{"type", 5}}, ChoiceOf("h"), json{{"type", "mcp"}}}) {
    const WireResponse r = Chat(ToolBody({{"tool_choice", choice}}));
    EXPECT_EQ(r.status, 400) << choice;
    EXPECT_TRUE(r.error()["param"].get<std::string>().starts_with("tool_choice")) << r.body;
  }
  EXPECT_EQ(Chat(ToolBody({{"tools", {Function("")}}})).error()["param"], "tools[0].function.name");
}

TEST_F(WireTools, AnEmptyListIsNoTools) {
  Start("<tool_call>", Forms()[0].says);
  for (const json& choice : {json(), json("auto"), json("none")}) {
    const json body = ChatBody({{"tools", json::array()}, {"tool_choice", choice}});
    EXPECT_EQ(Choice(body)["message"]["content"], Forms()[0].says);
  }
  const json forced = ChatBody({{"tools", json::array()}, {"tool_choice", "required"}});
  EXPECT_EQ(Chat(forced).error()["param"], "tool_choice");
  EXPECT_EQ(Chat(ChatBody({{"tool_choice", "auto"}})).error()["param"], "tool_choice");
}

TEST_F(WireTools, TextAroundCallsIsContent) {
  Start("<tool_call>", "Let me see.\n<tool_call>{\"name\":\"f\"}</tool_call>");
  const json message = Choice(ToolBody())["message"];
  EXPECT_EQ(message["content"], "Let me see.");
  EXPECT_EQ(message["tool_calls"].size(), 1u);
  EXPECT_EQ(Join(ToolBody()).content, "Let me see.");
  Say("<tool_call>{broken</tool_call>");
  EXPECT_EQ(Choice(ToolBody())["message"]["content"], "<tool_call>{broken</tool_call>");
  EXPECT_EQ(Join(ToolBody()).content, "<tool_call>{broken</tool_call>");
}

TEST_F(WireTools, EachChoiceHasItsCalls) {
  Start("<tool_call>", Forms()[0].says);
  const json body = ToolBody({{"n", 3}});
  const auto events = Events(Chat(Streamed(body)).body);
  const json whole = Chat(body).json();
  std::set<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    const JoinedChat joined = JoinChat(events, i);
    ASSERT_EQ(joined.calls.size(), 2u);
    for (const json& call : joined.calls) ids.insert(call["id"].get<std::string>());
    for (const json& call : whole["choices"][i]["message"]["tool_calls"]) {
      ids.insert(call["id"].get<std::string>());
    }
  }
  EXPECT_EQ(ids.size(), 12u);
}

TEST_F(WireTools, IdsSuitMistralTemplates) {
  Start("[TOOL_CALLS]", Forms()[3].says);
  const json choice = Choice(ToolBody());  // a loop over a part of a temporary would outlive it
  for (const json& call : choice["message"]["tool_calls"]) {
    EXPECT_EQ(call["id"].get<std::string>().size(), 9u);
  }
}

TEST_F(WireTools, SchemasTellTextFromNumbers) {
  Start("<tool_call><function=",
        "<function=f><parameter=s>\n5\n</parameter><parameter=n>5</parameter></function>");
  json f = Function("f");
  f["function"]["parameters"]["properties"] = {{"s", {{"type", "string"}}},
                                               {"n", {{"type", "integer"}}}};
  const json body = ToolBody({{"tools", {f}}});
  EXPECT_EQ(Choice(body)["message"]["tool_calls"][0]["function"]["arguments"],
            "{\"s\": \"5\", \"n\": 5}");
  EXPECT_EQ(Join(body).calls[0]["function"]["arguments"], "{\"s\": \"5\", \"n\": 5}");
  for (const json& odd : {json(5), json{{"properties", {{"s", "x"}}}}, json{{"properties", 5}}}) {
    f["function"]["parameters"] = odd;
    EXPECT_EQ(
        Choice(ToolBody({{"tools", {f}}}))["message"]["tool_calls"][0]["function"]["arguments"],
        "{\"s\": 5, \"n\": 5}");
  }
}

TEST_F(WireTools, ServerOptionChoosesTheForm) {
  config_.tool_parser = "hermes";
  Start("", Forms()[0].says);
  EXPECT_EQ(Choice(ToolBody())["message"]["tool_calls"].size(), 2u);
  config_.tool_parser = "none";
  Start("<tool_call>", Forms()[0].says);
  EXPECT_EQ(Choice(ToolBody())["message"]["content"], Forms()[0].says);
}

TEST_F(WireTools, LogprobsAndIdsOfEveryTokenArePassedOn) {
  Start("<tool_call>", Forms()[0].says);
  const json body = ToolBody({{"logprobs", true}, {"return_token_ids", true}});
  const json whole = Choice(body);
  size_t entries = 0, ids = 0;
  for (const json& event : Events(Chat(Streamed(body)).body)) {
    if (!event.is_object()) continue;
    const json& choice = event["choices"][0];
    if (choice["logprobs"].is_object()) entries += choice["logprobs"]["content"].size();
    ids += choice.value("token_ids", json::array()).size();
  }
  EXPECT_EQ(entries, whole["logprobs"]["content"].size());
  EXPECT_EQ(ids, whole["token_ids"].size());
  EXPECT_EQ(ids, tokenizer_->Script(Forms()[0].says).size() + 1);
}

// What a client sends back reaches the template as it wants it: as an object, or as text where the
// template adds it to text.
TEST_F(WireTools, HistoryReachesTheTemplate) {
  const json call = {{"id", "call_1"},
                     {"type", "function"},
                     {"function", {{"name", "f"}, {"arguments", "{\"a\": {\"b\": 1}}"}}}};
  json body = ChatBody({{"return_token_ids", true}});
  body["messages"].push_back({{"role", "assistant"}, {"content", nullptr}, {"tool_calls", {call}}});
  body["messages"].push_back({{"role", "tool"}, {"tool_call_id", "call_1"}, {"content", "42"}});
  const auto prompt = [&](const std::string& shown) {
    template_source_ =
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.id }} " + shown +
        ";{% endfor %}{% if m.role == 'tool' %}{{ m.tool_call_id }}={{ m.content }}{% endif %}"
        "{% endfor %}";
    StopServer();
    StartServer();
    const json r = Chat(body).json();
    std::string text;
    for (const json& id : r.value("prompt_token_ids", json::array())) {
      text += tokenizer_->TokenBytes(id.get<int32_t>());
    }
    return text;
  };
  EXPECT_EQ(prompt("{{ c.function.arguments.a.b }} {{ c.function.arguments | tojson }}"),
            "call_1 1 {\"a\": {\"b\": 1}};call_1=42");
  EXPECT_EQ(prompt("{{ '<' + c.function.arguments + '>' }}"),
            "call_1 <{\"a\":{\"b\":1}}>;call_1=42");
}

}  // namespace
}  // namespace slipstream::testing
