// tool_choice of the type allowed_tools, in the forms of chats and of responses.
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

class WireAllowedTools : public Wire {
 protected:
  WireAllowedTools() {
    template_source_ =
        "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
        "{% for t in tools %}[{{ t.function.name }}]{% endfor %}{# <tool_call> #}";
  }

  static json Function(const std::string& name) {
    return {{"type", "function"}, {"function", {{"name", name}}}};
  }
  static json Allowed(const json& mode, const json& names) {
    json tools = json::array();
    for (const json& name : names) tools.push_back(Function(name));
    return {{"type", "allowed_tools"}, {"allowed_tools", {{"mode", mode}, {"tools", tools}}}};
  }
  WireResponse ChatWith(const json& choice) {
    return Chat(ChatBody({{"tools", {Function("e"), Function("f"), Function("g")}},
                          {"tool_choice", choice},
                          {"parallel_tool_calls", false},
                          {"return_token_ids", true}}));
  }
  std::string PromptOf(const WireResponse& r) {
    const json body = {{"tokens", r.json()["prompt_token_ids"]}};
    return Ask("POST", "/detokenize", body.dump()).json()["prompt"];
  }
};

TEST_F(WireAllowedTools, W29_AutoShowsTheModelTheAllowedOnes) {
  StartServer();
  const WireResponse r = ChatWith(Allowed("auto", {"g", "e", "g"}));
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.json()["choices"][0]["message"]["content"], "Hello world");
  EXPECT_NE(PromptOf(r).find("[e][g]"), std::string::npos) << PromptOf(r);
}

TEST_F(WireAllowedTools, W29_RequiredCallsOneOfThem) {
  Say("e\", \"arguments\": {\"a\": 1}}\n</tool_call>");
  StartServer();
  const json choice = ChatWith(Allowed("required", {"g", "f"})).json()["choices"][0];
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "f") << "e is not allowed";
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
}

TEST_F(WireAllowedTools, W29_RequiredOfOneBeginsItsArguments) {
  Say(" {}}\n</tool_call>");
  StartServer();
  const WireResponse r = ChatWith(Allowed("required", {"g"}));
  EXPECT_TRUE(PromptOf(r).ends_with("\"g\", \"arguments\":")) << PromptOf(r);
  const json choice = r.json()["choices"][0];
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "g");
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
}

TEST_F(WireAllowedTools, W29_WhatIsAllowedIsChecked) {
  StartServer();
  for (const json& choice :
       {Allowed("auto", {"h"}), Allowed("auto", json::array()), Allowed("none", {"f"}),
        Allowed(nullptr, {"f"}), Allowed("auto", {""}), json{{"type", "allowed_tools"}},
        json{{"type", "allowed_tools"}, {"allowed_tools", 5}}}) {
    const WireResponse r = ChatWith(choice);
    EXPECT_EQ(r.status, 400) << choice;
    ExpectErrorShape(r);
    EXPECT_TRUE(r.error()["param"].get<std::string>().starts_with("tool_choice")) << r.body;
  }
  EXPECT_EQ(Chat(ChatBody({{"tool_choice", Allowed("auto", {"f"})}})).status, 400) << "no tools";
}

TEST_F(WireAllowedTools, W29_InTheFormOfResponses) {
  Say("e\", \"arguments\": {}}\n</tool_call>");
  StartServer();
  const auto flat = [](const char* name) { return json{{"type", "function"}, {"name", name}}; };
  json body = {
      {"input", "Hi"},
      {"tools", {flat("e"), flat("f"), flat("g")}},
      {"parallel_tool_calls", false},
      {"tool_choice",
       {{"type", "allowed_tools"}, {"mode", "required"}, {"tools", {flat("g"), flat("f")}}}}};
  const json whole = Ask("POST", "/v1/responses", body.dump()).json();
  ASSERT_EQ(whole["output"].size(), 1u) << whole;
  EXPECT_EQ(whole["output"][0]["name"], "f");
  EXPECT_EQ(whole["tool_choice"], body["tool_choice"]);
  EXPECT_EQ(whole["tools"].size(), 3u);
  body["tool_choice"]["tools"] = {flat("h")};
  EXPECT_EQ(Ask("POST", "/v1/responses", body.dump()).error()["param"], "tool_choice");
}

}  // namespace
}  // namespace slipstream::testing
