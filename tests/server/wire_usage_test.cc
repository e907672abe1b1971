// W15 to W18, W26 to W29 and W38 to W41: usage, parameters, log probabilities.
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

TEST_F(Wire, W15_UsageChunkOnlyWhenAsked) {
  StartServer();
  const auto without = Events(Chat(ChatBody({{"stream", true}})).body);
  for (const json& event : without) {
    if (event.is_object()) EXPECT_FALSE(event["choices"].empty());
  }
  const auto with = Events(
      Chat(ChatBody({{"stream", true}, {"stream_options", {{"include_usage", true}}}})).body);
  ASSERT_EQ(with.size(), without.size() + 1);
  const json& last = with[with.size() - 2];
  EXPECT_EQ(last["choices"], json::array());
  EXPECT_EQ(last["usage"]["completion_tokens"], 3);
  EXPECT_EQ(last["id"], with[0]["id"]);
  EXPECT_FALSE(with[with.size() - 3]["choices"][0]["finish_reason"].is_null());
}

TEST_F(Wire, W16_ContinuousUsageStats) {
  StartServer();
  const json options = {{"include_usage", true}, {"continuous_usage_stats", true}};
  const auto events = Events(Chat(ChatBody({{"stream", true}, {"stream_options", options}})).body);
  int64_t before = 0;
  for (const json& event : events) {
    if (event == "[DONE]") continue;
    ASSERT_TRUE(event.contains("usage")) << event;
    EXPECT_GE(event["usage"]["completion_tokens"], before);
    before = event["usage"]["completion_tokens"];
  }
  EXPECT_EQ(before, 3);
}

TEST_F(Wire, W17_UsageCountsEverySampledToken) {
  StartServer();
  const json usage = Chat(ChatBody({{"n", 2}})).json()["usage"];
  EXPECT_EQ(usage["completion_tokens"], 6);  // two words and the end token, twice
  EXPECT_GT(usage["prompt_tokens"], 2);      // after the template
  EXPECT_EQ(usage["total_tokens"], 6 + usage["prompt_tokens"].get<int>());
  EXPECT_EQ(usage["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(usage["completion_tokens_details"]["reasoning_tokens"], 0);
}

TEST_F(Wire, W17_CachedTokensAreTold) {
  engine_config_.enable_prefix_caching = true;
  StartServer();
  const json body = {{"prompt", std::string(100, 'x')}, {"max_tokens", 2}};
  EXPECT_EQ(Complete(body).json()["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_GT(Complete(body).json()["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

TEST_F(Wire, W18_StreamOptionsWithoutStream) {
  StartServer();
  const WireResponse r = Chat(ChatBody({{"stream_options", {{"include_usage", true}}}}));
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(r.error()["param"], "stream_options");
}

TEST_F(Wire, W26_MaxCompletionTokensWins) {
  SayForever("abc");
  StartServer();
  const auto tokens = [&](const json& more) {
    return Chat(ChatBody(more)).json()["usage"]["completion_tokens"].get<int>();
  };
  EXPECT_EQ(tokens({{"max_tokens", 9}, {"max_completion_tokens", 4}}), 4);
  EXPECT_EQ(tokens({{"max_tokens", 5}}), 5);
  const json usage = Chat(ChatBody({{"max_tokens", nullptr}})).json()["usage"];
  EXPECT_EQ(usage["total_tokens"], kMaxModelLen);  // the rest of the context
  EXPECT_EQ(Complete({{"prompt", "x"}}).json()["usage"]["completion_tokens"], 16);
  EXPECT_EQ(
      Complete({{"prompt", "x"}, {"max_tokens", nullptr}}).json()["usage"]["completion_tokens"],
      16);
}

TEST_F(Wire, W27_PromptForms) {
  StartServer();
  const auto choices = [&](const json& prompt, int n) {
    const WireResponse r = Complete({{"prompt", prompt}, {"n", n}});
    EXPECT_EQ(r.status, 200) << r.body;
    return r.json()["choices"].size();
  };
  EXPECT_EQ(choices("one", 1), 1u);
  EXPECT_EQ(choices(json::array({"one", "two", "three"}), 2), 6u);
  EXPECT_EQ(choices(json::array({72, 105}), 1), 1u);
  EXPECT_EQ(choices(json::array({{72, 105}, {72}}), 2), 4u);
  const WireResponse r = Complete({{"prompt", {"one", "two"}}, {"n", 2}, {"echo", true}});
  const json list = r.json()["choices"];
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(list[i]["index"], i);
    EXPECT_EQ(list[i]["text"], std::string(i < 2 ? "one" : "two") + "Hello world");
  }
  for (const json& bad : {json(), json(7), json::array(), json::array({1, "a"}),
                          json::array({"a", 1}), json::array({-1}), json::array({99999})}) {
    const WireResponse refused = Complete({{"prompt", bad}});
    EXPECT_EQ(refused.status, 400) << bad;
    EXPECT_EQ(refused.error()["param"], "prompt") << bad;
  }
}

TEST_F(Wire, SuffixOfModelsThatFillIn) {
  const json body = {{"prompt", "f("}, {"suffix", ");"}, {"return_token_ids", true}};
  StartServer();
  EXPECT_EQ(Complete(body).error()["param"], "suffix") << "this vocabulary has no such tokens";
  EXPECT_EQ(Complete({{"prompt", "f("}, {"suffix", ""}}).status, 200);
  StopServer();
  const std::vector<std::string> marks = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"};
  tokenizer_ = std::make_shared<TinyTokenizer>(marks);
  StartServer();
  std::string prompt;
  const json answer = Complete(body).json();
  for (const json& id : answer["choices"][0]["prompt_token_ids"]) {
    prompt += tokenizer_->TokenBytes(id.get<int32_t>());
  }
  EXPECT_EQ(prompt, "<s><|fim_prefix|>f(<|fim_suffix|>);<|fim_middle|>");
  json wrong = body;
  wrong["prompt"] = {1, 2};
  EXPECT_EQ(Complete(wrong).error()["param"], "suffix");
  wrong = body;
  wrong["echo"] = true;
  EXPECT_EQ(Complete(wrong).error()["param"], "suffix");
}

TEST_F(Wire, W28_StopSeedTemperature) {
  SayForever("abc");
  StartServer();
  EXPECT_EQ(Chat(ChatBody({{"stop", "c"}})).json()["choices"][0]["message"]["content"], "ab");
  EXPECT_EQ(Chat(ChatBody({{"stop", {"c", "b"}}})).json()["choices"][0]["message"]["content"], "a");
  EXPECT_EQ(Chat(ChatBody({{"stop", nullptr}, {"max_tokens", 4}})).status, 200);
  EXPECT_EQ(Chat(ChatBody({{"stop", {1}}})).error()["param"], "stop");
  for (const char* seed : {"-9223372036854775808", "9223372036854775807", "0"}) {
    EXPECT_EQ(Chat(ChatBody({{"seed", json::parse(seed)}, {"max_tokens", 2}})).status, 200);
  }
  EXPECT_EQ(Chat(ChatBody({{"seed", json::parse("9223372036854775808")}})).error()["param"],
            "seed");
  EXPECT_EQ(
      Chat(ChatBody({{"temperature", 0}, {"top_logprobs", nullptr}, {"max_tokens", 2}})).status,
      200);
}

TEST_F(Wire, W29_Tools) {
  StartServer();
  const json tool = {{"type", "function"},
                     {"function", {{"name", "look"}, {"parameters", json::object()}}}};
  EXPECT_EQ(Chat(ChatBody({{"tools", {tool}}})).status, 200);
  EXPECT_EQ(Chat(ChatBody({{"tools", {tool}}, {"tool_choice", "none"}})).status, 200);
  EXPECT_EQ(Chat(ChatBody({{"tool_choice", "none"}})).status, 200);
  EXPECT_EQ(Chat(ChatBody({{"tool_choice", "auto"}})).error()["param"], "tool_choice");
  // The default template does not tell how this model writes calls.
  EXPECT_EQ(Chat(ChatBody({{"tools", {tool}}, {"tool_choice", "required"}})).error()["param"],
            "tool_choice");
  EXPECT_EQ(Chat(ChatBody({{"tools", {tool}}, {"tool_choice", "maybe"}})).error()["param"],
            "tool_choice");
}

TEST_F(Wire, W29_ToolsReachTheTemplate) {
  template_source_ = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}";
  StartServer();
  json body = ChatBody({{"tools", {{{"type", "function"}, {"function", {{"name", "look"}}}}}}});
  EXPECT_EQ(Chat(body).json()["usage"]["prompt_tokens"], 6);
  body["tool_choice"] = "none";
  EXPECT_EQ(Chat(body).error()["param"], "prompt");  // rendered to nothing
}

TEST_F(Wire, W30_ConstraintsThatAreNotSupportedAreRefusedNotIgnored) {
  StartServer();
  EXPECT_EQ(Chat(ChatBody({{"response_format", {{"type", "text"}}}})).status, 200);
  for (const char* type : {"json_schema", "other"}) {
    const WireResponse r = Chat(ChatBody({{"response_format", {{"type", type}}}}));
    EXPECT_EQ(r.status, 400);
    EXPECT_EQ(r.error()["param"], "response_format");
  }
  for (const char* name : {"grammar", "structural_tag", "functions"}) {
    EXPECT_EQ(Chat(ChatBody({{name, json::object()}})).error()["param"], name);
  }
  EXPECT_EQ(Chat(ChatBody({{"json_schema", 5}})).error()["param"], "json_schema");
}

TEST_F(Wire, W31_MessageForms) {
  StartServer();
  const auto status = [&](const json& messages) {
    const WireResponse r = Chat({{"messages", messages}});
    return r.status == 200 ? "ok" : r.error()["param"].get<std::string>();
  };
  const json call = {
      {"id", "1"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", "{\"a\":1}"}}}};
  const json user = {{"role", "user"}, {"content", "x"}};
  EXPECT_EQ(status({{{"role", "user"}, {"content", {{{"type", "text"}, {"text", "x"}}}}}}), "ok");
  EXPECT_EQ(status({{{"role", "developer"}, {"content", "x"}}, user}), "ok");
  EXPECT_EQ(status({user,
                    {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", {call}}},
                    {{"role", "tool"}, {"tool_call_id", "1"}, {"content", "y"}}}),
            "ok");
  EXPECT_EQ(status({user, {{"role", "assistant"}, {"content", nullptr}}, user}), "ok");
  EXPECT_EQ(status({{{"role", "user"}, {"content", nullptr}}}), "messages[0].content");
  for (const json& part : {json{{"text", "x"}}, json{{"type", "input_text"}, {"text", "x"}},
                           json{{"type", "output_text"}, {"text", "x"}},
                           json{{"type", "refusal"}, {"refusal", "x"}}, json("x")}) {
    EXPECT_EQ(status({{{"role", "user"}, {"content", {part}}}}), "ok") << part;
  }
  EXPECT_EQ(status({{{"role", "user"}, {"content", 7}}}), "messages[0].content");
  EXPECT_EQ(status({{{"role", "robot"}, {"content", "x"}}}), "messages[0].role");
  EXPECT_EQ(status({{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}}),
            "messages[0].content[0].type");
  EXPECT_EQ(status(json::array()), "messages");
  EXPECT_EQ(status("x"), "messages");
}

TEST_F(Wire, W38_ChatLogprobs) {
  Say("ab");
  StartServer();
  const json body = ChatBody({{"logprobs", true}, {"top_logprobs", 2}});
  const json content = Chat(body).json()["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[0]["bytes"], json::array({97}));
  EXPECT_EQ(content[0]["logprob"], -0.5);
  ASSERT_EQ(content[0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(content[0]["top_logprobs"][1]["token"], "b");
  EXPECT_EQ(content[0]["top_logprobs"][1]["logprob"], -1.5);
  EXPECT_EQ(Chat(ChatBody({{"top_logprobs", 2}})).error()["param"], "top_logprobs");
  EXPECT_EQ(Chat(ChatBody({{"logprobs", true}, {"top_logprobs", 21}})).error()["param"],
            "top_logprobs");
}

TEST_F(Wire, W39_CompletionLogprobs) {
  Say("a\xC3\xA9");
  StartServer();
  const json lp = Complete({{"prompt", "x"}, {"logprobs", 2}}).json()["choices"][0]["logprobs"];
  EXPECT_EQ(lp["tokens"].size(), 4u);  // a, two bytes of one character, the end token
  EXPECT_EQ(lp["token_logprobs"].size(), 4u);
  EXPECT_EQ(lp["top_logprobs"].size(), 4u);
  EXPECT_EQ(lp["text_offset"].size(), 4u);
  EXPECT_EQ(lp["top_logprobs"][0], (json{{"a", -0.5}, {"b", -1.5}}));
}

// The ids of the prompt do not bring its log probabilities.
TEST_F(Wire, W39_BesideTokenIds) {
  Say("ab");
  StartServer();
  json body = {{"prompt", "hey"}, {"logprobs", 1}, {"return_token_ids", true}};
  const WireResponse whole = Complete(body);
  ASSERT_EQ(whole.status, 200) << whole.body;
  const json choice = whole.json()["choices"][0];
  EXPECT_EQ(choice["logprobs"]["tokens"].size(), 3u);  // a, b, the end token
  EXPECT_EQ(choice["prompt_token_ids"].size(), 4u);
  body["stream"] = true;
  EXPECT_EQ(Events(Complete(body).body)[0]["choices"][0]["logprobs"]["tokens"].size(), 1u);
}

TEST_F(Wire, W40_EchoWithLogprobs) {
  Say("ab");
  StartServer();
  for (const int max_tokens : {1, 0}) {
    const json body = {{"prompt", {{'h', 'e', 'y'}}},
                       {"echo", true},
                       {"logprobs", 1},
                       {"max_tokens", max_tokens},
                       {"temperature", 0}};
    const json r = Complete(body).json();
    const json& choice = r["choices"][0];
    const size_t expected = 3 + static_cast<size_t>(max_tokens);
    EXPECT_EQ(choice["text"], max_tokens == 1 ? "heya" : "hey");
    ASSERT_EQ(choice["logprobs"]["tokens"].size(), expected) << r;
    EXPECT_EQ(choice["logprobs"]["token_logprobs"].size(), expected);
    EXPECT_TRUE(choice["logprobs"]["token_logprobs"][0].is_null());
    EXPECT_TRUE(choice["logprobs"]["top_logprobs"][0].is_null());
    EXPECT_EQ(choice["logprobs"]["token_logprobs"][1], -0.5);
    EXPECT_EQ(choice["logprobs"]["tokens"][1], "e");
    EXPECT_EQ(choice["logprobs"]["text_offset"][2], 2);
    EXPECT_EQ(choice["finish_reason"], "length");
    EXPECT_EQ(r["usage"]["completion_tokens"], max_tokens);
  }
}

TEST_F(Wire, W40_EchoOfSeveralChoices) {
  Say("ab");
  StartServer();
  const json r = Complete({{"prompt", "hey"}, {"echo", true}, {"logprobs", 0}, {"n", 3}}).json();
  for (const json& choice : r["choices"]) {
    EXPECT_EQ(choice["text"], "heyab");
    EXPECT_EQ(choice["logprobs"]["tokens"].size(), 7u);  // <s>, hey, ab, </s>
  }
}

// In vLLM's shape, of which evaluations read the likelihood of a prompt.
TEST_F(Wire, PromptLogprobs) {
  Say("ab");
  StartServer();
  const auto entry = [&](double logprob, int rank, const char* token) {
    return json{{"logprob", logprob}, {"rank", rank}, {"decoded_token", token}};
  };
  const std::string e = std::to_string('e'), f = std::to_string('f'), y = std::to_string('y');
  json body = {{"prompt", {{'h', 'e', 'y'}, {'h'}}}, {"prompt_logprobs", 2}, {"n", 2}};
  const json choices = Complete(body).json()["choices"];
  ASSERT_EQ(choices.size(), 4u);
  for (int i = 0; i < 2; ++i) {
    const json& list = choices[i]["prompt_logprobs"];
    ASSERT_EQ(list.size(), 3u) << choices;
    EXPECT_TRUE(list[0].is_null());
    EXPECT_EQ(list[1], (json{{e, entry(-0.5, 1, "e")}, {f, entry(-1.5, 2, "f")}}));
    EXPECT_EQ(list[2][y], entry(-0.5, 1, "y"));
    EXPECT_EQ(choices[2 + i]["prompt_logprobs"], json::parse("[null]"));
    EXPECT_FALSE(choices[i].contains("prompt_token_ids"));
    EXPECT_TRUE(choices[i]["logprobs"].is_null());
    EXPECT_EQ(choices[i]["text"], "ab");
  }
  // Each of the two fields keeps its own number of tokens.
  body.update({{"echo", true}, {"logprobs", 0}, {"max_tokens", 1}});
  const json both = Complete(body).json()["choices"][0];
  EXPECT_EQ(both["prompt_logprobs"], choices[0]["prompt_logprobs"]);
  EXPECT_EQ(both["logprobs"]["top_logprobs"][1], (json{{"e", -0.5}}));
  const json chat = Chat(ChatBody({{"prompt_logprobs", 0}, {"n", 2}})).json();
  EXPECT_EQ(chat["prompt_logprobs"].size(), chat["usage"]["prompt_tokens"].get<size_t>());
  EXPECT_EQ(chat["prompt_logprobs"][1].size(), 1u);
  body["stream"] = true;
  EXPECT_EQ(Complete(body).error()["param"], "prompt_logprobs");
  EXPECT_EQ(Complete({{"prompt", "x"}, {"prompt_logprobs", 21}}).error()["param"],
            "prompt_logprobs");
}

TEST_F(Wire, BestOfTellsTheMostLikely) {
  // Every choice is a letter of its own, three times, and the later ones are the likelier.
  model_->script = [eos = *tokenizer_->eos_id()](uint64_t seed, int index) {
    return index < 3 ? static_cast<int32_t>('a' + seed % 26) : eos;
  };
  model_->logprob = [](int32_t token) { return -static_cast<float>('z' + 1 - token) / 8; };
  StartServer();
  json body = {{"prompt", {"x", "y"}}, {"seed", 3}, {"n", 6}};
  std::vector<std::vector<std::string>> best(2);
  const json all = Complete(body).json();
  for (const json& choice : all["choices"]) {
    best[choice["index"].get<size_t>() / 6].push_back(choice["text"]);
  }
  body["n"] = 2;
  body["best_of"] = 6;
  const json told = Complete(body).json();
  ASSERT_EQ(told["choices"].size(), 4u) << told;
  for (size_t i = 0; i < 4; ++i) {
    std::vector<std::string>& texts = best[i / 2];
    if (i % 2 == 0) std::sort(texts.rbegin(), texts.rend());
    EXPECT_NE(texts.front(), texts.back()) << "all alike: nothing would be ranked";
    EXPECT_EQ(told["choices"][i]["text"], texts[i % 2]);
    EXPECT_EQ(told["choices"][i]["index"], i);
    EXPECT_TRUE(told["choices"][i]["logprobs"].is_null());
  }
  EXPECT_EQ(told["usage"], all["usage"]) << "what was thrown away was computed, too";
  body["stream"] = true;
  EXPECT_EQ(Complete(body).error()["param"], "best_of");
  EXPECT_EQ(Complete({{"prompt", "x"}, {"n", 2}, {"best_of", 1}}).error()["param"], "best_of");
  EXPECT_EQ(Chat(ChatBody({{"best_of", 2}})).error()["param"], "best_of");
}

TEST_F(Wire, W41_StreamedLogprobsJoinToTheWhole) {
  Say("a\xC3\xA9z");
  StartServer();
  json body = {{"prompt", "hey"}, {"echo", true}, {"logprobs", 1}};
  const json whole = Complete(body).json()["choices"][0]["logprobs"];
  body["stream"] = true;
  json joined;
  for (const json& event : Events(Complete(body).body)) {
    if (event == "[DONE]") continue;
    for (const auto& [name, list] : event["choices"][0]["logprobs"].items()) {
      for (const json& item : list) joined[name].push_back(item);
    }
  }
  EXPECT_EQ(joined, whole);
  const json chat = ChatBody({{"logprobs", true}, {"top_logprobs", 1}});
  const json chat_whole = Chat(chat).json()["choices"][0]["logprobs"]["content"];
  json chat_joined;
  json streamed = chat;
  streamed["stream"] = true;
  for (const json& event : Events(Chat(streamed).body)) {
    if (event == "[DONE]" || event["choices"][0]["logprobs"].is_null()) continue;
    for (const json& item : event["choices"][0]["logprobs"]["content"]) chat_joined.push_back(item);
  }
  EXPECT_EQ(chat_joined, chat_whole);
}

}  // namespace
}  // namespace slipstream::testing
