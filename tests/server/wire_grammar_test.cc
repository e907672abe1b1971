// Structured output over real sockets, from a model that wants to break every grammar.
#include <atomic>
#include <map>
#include <regex>
#include <thread>

#include "base/rng.h"
#include "tests/server/schema_check.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

class WireGrammar : public Wire {
 protected:
  // Wants any token of the vocabulary, or text that ends things, so that answers come to an end.
  void Rebel() {
    const auto num_tokens = static_cast<uint64_t>(tokenizer_->vocab_size());
    model_->script = [num_tokens](uint64_t seed, int index) {
      constexpr std::string_view kEnds = "\"}]},\"";
      const uint64_t draw = MixBits(seed * 1000003 + static_cast<uint64_t>(index));
      if (draw % 2 == 0) return static_cast<int32_t>(kEnds[draw / 2 % kEnds.size()]);
      return static_cast<int32_t>(draw / 2 % num_tokens);
    };
  }
  static json Format(const json& schema) {
    return {{"type", "json_schema"}, {"json_schema", {{"name", "answer"}, {"schema", schema}}}};
  }
  // The content of a chat that must have ended by itself.
  std::string Content(const json& more) {
    const WireResponse r = Chat(ChatBody(more));
    EXPECT_EQ(r.status, 200) << r.body;
    if (r.status != 200) return "";
    const json choice = json::parse(r.body)["choices"][0];
    EXPECT_EQ(choice["finish_reason"], "stop") << r.body;
    return choice["message"]["content"];
  }
};

TEST_F(WireGrammar, EveryAnswerOf500RequestsFitsItsSchema) {
  Rebel();
  StartServer();
  constexpr int kThreads = 4, kEach = 125;
  std::atomic<int> finished{0}, failed{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < kThreads; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < kEach; ++i) {
        SchemaMaker maker(static_cast<uint64_t>(c * 1000 + i % 40));  // some come again
        const json schema = maker.Object();
        const bool stream = i % 3 == 0;
        json more = {{"response_format", Format(schema)}, {"seed", i}, {"stream", stream}};
        const WireResponse r = Chat(ChatBody(more));
        std::string text, finish;
        if (r.status == 200 && stream) {
          const JoinedChat joined = JoinChat(Events(r.body));
          text = joined.content, finish = joined.finish;
        } else if (r.status == 200) {
          const json choice = json::parse(r.body)["choices"][0];
          text = choice["message"]["content"], finish = choice["finish_reason"];
        }
        if (finish == "length") continue;  // the rebel talked till the context was full
        ++finished;
        const json value = json::parse(text, nullptr, false);
        if (finish == "stop" && !value.is_discarded() && Fits(value, schema)) continue;
        ++failed;
        ADD_FAILURE() << r.status << " " << finish << "\n"
                      << schema.dump() << "\n"
                      << text << (r.status == 200 ? "" : r.body);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(failed, 0);
  EXPECT_GT(finished, kThreads * kEach * 9 / 10);
  EXPECT_TRUE(BlocksComeBack());
}

// The markers by which the template shows the form; [TOOL_CALLS] is a token of the vocabulary.
constexpr const char* kToolForms[] = {"<tool_call>",
                                      "<|python_tag|>",
                                      "[TOOL_CALLS]",
                                      "[TOOL_CALLS] [ARGS]",
                                      "<｜tool▁call▁begin｜> ```json",
                                      "<｜tool▁call▁begin｜>"};

TEST_F(WireGrammar, EveryForcedCallFitsTheSchemaOfItsTool) {
  for (const char* form : kToolForms) {
    SCOPED_TRACE(form);
    template_source_ =
        std::string("{{ messages[0].content }}{{ tools | length }}{# ") + form + " #}";
    StopServer();
    Rebel();
    StartServer();
    int whole = 0;
    for (int i = 0; i < 60; ++i) {
      SchemaMaker maker(static_cast<uint64_t>(i));
      std::map<std::string, json> schemas;
      json tools = json::array();
      for (const char* name : {"look_up", "say \"x\"", "z"}) {
        if (std::string(name).find(' ') != std::string::npos && form[0] != '<') continue;
        schemas[name] = maker.Object();
        tools.push_back(
            {{"type", "function"}, {"function", {{"name", name}, {"parameters", schemas[name]}}}});
      }
      json choice = "required";
      if (i % 3 == 0) choice = {{"type", "function"}, {"function", {{"name", "z"}}}};
      const bool parallel = i % 2 == 0, stream = i % 4 < 2;
      const WireResponse r = Chat(ChatBody({{"tools", tools},
                                            {"tool_choice", choice},
                                            {"parallel_tool_calls", parallel},
                                            {"seed", i},
                                            {"stream", stream}}));
      ASSERT_EQ(r.status, 200) << r.body;
      json calls;
      std::string finish;
      if (stream) {
        const JoinedChat joined = JoinChat(Events(r.body));
        calls = joined.calls, finish = joined.finish;
      } else {
        const json answer = r.json()["choices"][0];
        calls = answer["message"]["tool_calls"], finish = answer["finish_reason"];
      }
      if (finish == "length") continue;  // the rebel talked till the context was full
      ++whole;
      EXPECT_EQ(finish, choice.is_object() ? "stop" : "tool_calls");
      ASSERT_GE(calls.size(), 1u) << r.body;
      if (!parallel || choice.is_object()) EXPECT_EQ(calls.size(), 1u);
      for (const json& call : calls) {
        const std::string name = call["function"]["name"];
        if (choice.is_object()) EXPECT_EQ(name, "z");
        ASSERT_TRUE(schemas.contains(name)) << name;
        const json value =
            json::parse(call["function"]["arguments"].get<std::string>(), nullptr, false);
        EXPECT_TRUE(!value.is_discarded() && Fits(value, schemas[name])) << call << "\n"
                                                                         << schemas[name];
      }
    }
    EXPECT_GT(whole, 30);
    EXPECT_TRUE(BlocksComeBack());
  }
}

TEST_F(WireGrammar, NamesOfLlamaCpp) {
  Rebel();
  StartServer();
  EXPECT_EQ(Content({{"grammar", "root ::= \"yes\""}, {"json_schema", ""}}), "yes");
  EXPECT_EQ(Content({{"json_schema", {{"const", 5}}}, {"grammar", ""}}), "5");
  const json object = {{"type", "json_object"}, {"schema", {{"const", 7}}}};
  EXPECT_EQ(Content({{"response_format", object}}), "7");
}

TEST_F(WireGrammar, ForcedCallsComeToAnEnd) {
  template_source_ = "{{ messages[0].content }}{{ tools | length }}{# <tool_call> #}";
  max_model_len_ = 4096;
  SayForever("f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"");
  StartServer();
  json tools = json::array();
  for (const char* name : {"f", "g"}) {
    tools.push_back({{"type", "function"}, {"function", {{"name", name}}}});
  }
  const WireResponse r = Chat(ChatBody({{"tools", tools}, {"tool_choice", "required"}}));
  ASSERT_EQ(r.status, 200) << r.body;
  const json choice = r.json()["choices"][0];
  EXPECT_EQ(choice["message"]["tool_calls"].size(), 32u);
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
}

TEST_F(WireGrammar, ForcedCallsInXmlFitTheSchemaOfTheirTool) {
  template_source_ = "{{ messages[0].content }}{{ tools | length }}{# <tool_call><function= #}";
  // Any token, or for a while what ends a text: that takes a whole word here.
  const auto num_tokens = static_cast<uint64_t>(tokenizer_->vocab_size());
  model_->script = [num_tokens](uint64_t seed, int index) {
    constexpr std::string_view kEnd = "\n</parameter>";
    const size_t at = static_cast<size_t>(index) % kEnd.size();
    const uint64_t block = MixBits(seed * 1000003 + static_cast<uint64_t>(index) / kEnd.size());
    if (block % 2 == 0) return static_cast<int32_t>(static_cast<unsigned char>(kEnd[at]));
    return static_cast<int32_t>(MixBits(block + at) % num_tokens);
  };
  StartServer();
  const json schema = {{"type", "object"},
                       {"properties",
                        {{"text", {{"type", "string"}}},
                         {"number", {{"type", "integer"}}},
                         {"flag", {{"type", "boolean"}}}}},
                       {"required", {"number", "flag"}},
                       {"additionalProperties", false}};
  const json tools = {
      {{"type", "function"}, {"function", {{"name", "f"}, {"parameters", schema}}}}};
  int whole = 0;
  for (int i = 0; i < 30; ++i) {
    const json choice = Chat(ChatBody({{"tools", tools},
                                       {"tool_choice", "required"},
                                       {"parallel_tool_calls", false},
                                       {"seed", i}}))
                            .json()["choices"][0];
    if (choice["finish_reason"] == "length") continue;
    ++whole;
    const json call = choice["message"]["tool_calls"][0]["function"];
    const json value = json::parse(call["arguments"].get<std::string>(), nullptr, false);
    EXPECT_TRUE(Fits(value, schema)) << call;
  }
  EXPECT_GT(whole, 15);
}

// With a strict tool the model may still say what it likes, but not call as it likes.
TEST_F(WireGrammar, StrictToolsConstrainTheCallsOfAuto) {
  template_source_ = "{{ messages[0].content }}{{ tools | length }}{# <tool_call> #}";
  const json schema = {{"type", "object"},
                       {"properties", {{"n", {{"type", "integer"}}}}},
                       {"required", {"n"}},
                       {"additionalProperties", false}};
  json tools = {{{"type", "function"},
                 {"function", {{"name", "f"}, {"strict", true}, {"parameters", schema}}}}};
  Say("I call <tool_call>\n{\"name\": \"wrong\", \"arguments\": {\"text\": 7}}\n</tool_call>");
  StartServer();
  json body = ChatBody({{"tools", tools}});
  const json message = Chat(body).json()["choices"][0]["message"];
  EXPECT_EQ(message["content"], "I call");
  ASSERT_EQ(message["tool_calls"].size(), 1u) << message;
  const json call = message["tool_calls"][0]["function"];
  EXPECT_EQ(call["name"], "f");
  EXPECT_TRUE(Fits(json::parse(call["arguments"].get<std::string>()), schema)) << call;
  Say("No call.");
  EXPECT_EQ(Chat(body).json()["choices"][0]["message"]["content"], "No call.");
  // Without the word the model is free.
  Say("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"text\": 7}}\n</tool_call>");
  tools[0]["function"].erase("strict");
  body["tools"] = tools;
  EXPECT_EQ(Chat(body).json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"],
            "{\"text\": 7}");
}

TEST_F(WireGrammar, ASchemaOfAForcedToolThatCannotBeHadIsA400) {
  template_source_ = "{{ messages[0].content }}{{ tools | length }}{# <tool_call> #}";
  StartServer();
  const json tools = {
      {{"type", "function"},
       {"function",
        {{"name", "f"},
         {"parameters", {{"type", "object"}, {"properties", {{"x", {{"type", "strung"}}}}}}}}}}};
  const WireResponse r = Chat(ChatBody({{"tools", tools}, {"tool_choice", "required"}}));
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(r.error()["param"], "tools") << r.body;
}

TEST_F(WireGrammar, EverySpellingConstrains) {
  Rebel();
  StartServer();
  const json schema = {
      {"type", "object"}, {"properties", {{"ok", {{"type", "boolean"}}}}}, {"required", {"ok"}}};
  const auto has_ok = [](const std::string& text) {
    const json value = json::parse(text, nullptr, false);
    return value.is_object() && value.size() == 1 && value["ok"].is_boolean();
  };
  EXPECT_TRUE(has_ok(Content({{"response_format", Format(schema)}})));
  EXPECT_TRUE(has_ok(Content({{"guided_json", schema}})));
  EXPECT_TRUE(has_ok(Content({{"guided_json", schema.dump()}})));
  EXPECT_TRUE(has_ok(Content({{"structured_outputs", {{"json", schema}}}})));
  EXPECT_TRUE(json::parse(Content({{"response_format", {{"type", "json_object"}}}, {"seed", 3}}))
                  .is_object());
  for (const json& more :
       {json{{"guided_choice", {"yes", "no"}}},
        json{{"structured_outputs", {{"choice", {"yes", "no"}}}}},
        json{{"guided_grammar", "root ::= \"yes\" | \"no\""}},
        json{{"structured_outputs", {{"grammar", "root ::= \"yes\" | \"no\""}}}},
        json{{"guided_regex", "yes|no"}}, json{{"structured_outputs", {{"regex", "(yes|no)"}}}}}) {
    EXPECT_THAT(Content(more), AnyOf("yes", "no")) << more;
  }
  const WireResponse r =
      Complete({{"prompt", "Is it?"}, {"guided_choice", {"yes", "no"}}, {"n", 3}});
  ASSERT_EQ(r.status, 200) << r.body;
  const json answer = json::parse(r.body);
  for (const json& choice : answer["choices"]) {
    EXPECT_THAT(choice["text"].get<std::string>(), AnyOf("yes", "no"));
    EXPECT_EQ(choice["finish_reason"], "stop");
  }
}

TEST_F(WireGrammar, StopsMinTokensAndLengthsKeepTheirMeaning) {
  Rebel();
  StartServer();
  // Without an end token the grammar's end is the answer's.
  EXPECT_THAT(Content({{"guided_choice", {"yes", "no"}}, {"ignore_eos", true}}),
              AnyOf("yes", "no"));
  // More tokens than the grammar has text for cannot be had.
  EXPECT_THAT(Content({{"guided_choice", {"yes", "no"}}, {"min_tokens", 50}}), AnyOf("yes", "no"));
  const std::string digits = Content({{"guided_regex", "[0-9]*"}, {"min_tokens", 20}});
  EXPECT_GE(digits.size(), 20u);
  EXPECT_EQ(Content({{"guided_regex", "aaaabbbb"}, {"stop", "bb"}}), "aaaa");
  const WireResponse cut = Chat(ChatBody({{"guided_regex", "a{50}"}, {"max_tokens", 7}}));
  const json choice = json::parse(cut.body)["choices"][0];
  EXPECT_EQ(choice["message"]["content"], "aaaaaaa");
  EXPECT_EQ(choice["finish_reason"], "length");
}

TEST_F(WireGrammar, GrammarsOfOthersDoNotMatter) {
  Say("Hello world");
  StartServer();
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 10; ++i) {
        if (c % 2 == 0) {
          EXPECT_EQ(Content(json::object()), "Hello world");
        } else {
          EXPECT_EQ(Content({{"guided_regex", "[0-9]{3}b"}}).size(), 4u);
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(WireGrammar, WhatCannotBeCompiledIsA400NamingTheField) {
  StartServer();
  const auto expect_refused = [&](const json& more, const std::string& param,
                                  const std::string& reason) {
    for (const WireResponse& r : {Chat(ChatBody(more)), Complete([&] {
                                    json body = {{"prompt", "Hi"}, {"stream", true}};
                                    body.update(more);
                                    return body;
                                  }())}) {
      EXPECT_EQ(r.status, 400) << more << r.body;
      ExpectErrorShape(r);
      EXPECT_EQ(r.error()["param"], param) << r.body;
      EXPECT_THAT(r.error()["message"].get<std::string>(), HasSubstr(reason));
      EXPECT_LT(r.error()["message"].get<std::string>().size(), 450u);
    }
  };
  expect_refused({{"response_format", Format({{"type", "strung"}})}}, "response_format", "strung");
  expect_refused({{"response_format", Format({{"type", std::string(9000, 'x')}})}},
                 "response_format", "xxx");
  expect_refused({{"response_format", {{"type", "json_schema"}}}}, "response_format", "schema");
  expect_refused({{"response_format", Format(json(7))}}, "response_format", "schema");
  expect_refused({{"response_format", {{"type", "yaml"}}}}, "response_format", "yaml");
  expect_refused({{"guided_json", "{\"type\":"}}, "guided_json", "guided_json");
  expect_refused({{"guided_regex", "(a"}}, "guided_regex", "guided_regex");
  expect_refused({{"guided_regex", 5}}, "guided_regex", "string");
  expect_refused({{"guided_regex", ""}}, "guided_regex", "empty");
  expect_refused({{"guided_grammar", "root ::= other"}}, "guided_grammar", "other");
  expect_refused({{"guided_choice", json::array()}}, "guided_choice", "array");
  expect_refused({{"guided_choice", {"a", 1}}}, "guided_choice", "strings");
  expect_refused({{"structured_outputs", {{"regex", "(a"}}}}, "structured_outputs.regex",
                 "structured_outputs.regex");
  expect_refused({{"structured_outputs", {{"structural_tag", "x"}}}},
                 "structured_outputs.structural_tag", "not supported");
  expect_refused({{"guided_regex", "a"}, {"guided_choice", {"b"}}}, "guided_choice",
                 "cannot be combined with guided_regex");
  expect_refused({{"guided_regex", std::string(300, '(') + std::string(300, ')')}}, "guided_regex",
                 "levels deep");
  EXPECT_EQ(Content(json::object()), "Hello world") << "the server goes on";
}

TEST_F(WireGrammar, W30_KeywordsThatAreNotEnforcedAreRefused) {
  StartServer();
  const json schema = {{"type", "array"}, {"items", {{"type", "integer"}}}, {"uniqueItems", true}};
  const json asks[] = {{{"response_format", Format(schema)}},
                       {{"guided_json", schema}},
                       {{"structured_outputs", {{"json", schema}}}}};
  for (const json& more : asks) {
    const WireResponse r = Chat(ChatBody(more));
    EXPECT_EQ(r.status, 400) << more;
    ExpectErrorShape(r);
    EXPECT_THAT(r.error()["message"].get<std::string>(), HasSubstr("uniqueItems")) << more;
    EXPECT_TRUE(r.error()["param"].get<std::string>().starts_with(more.begin().key())) << r.body;
  }
}

TEST_F(WireGrammar, ReasoningComesBeforeTheGrammar) {
  template_source_ =
      "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>"
      "{% endif %}{# </think> #}";
  config_.reasoning_parser = "think";
  std::vector<int32_t> ids = tokenizer_->Script("Well, {maybe}");
  ids.push_back(*tokenizer_->FindToken("</think>"));
  for (const int32_t id : tokenizer_->Script("no it is not JSON at all, says the model")) {
    ids.push_back(id);
  }
  SayTokens(ids, true);
  StartServer();
  const WireResponse r = Chat(ChatBody({{"guided_regex", "[0-9]{4}"}}));
  ASSERT_EQ(r.status, 200) << r.body;
  const json message = json::parse(r.body)["choices"][0]["message"];
  EXPECT_EQ(message["reasoning_content"], "Well, {maybe}");
  EXPECT_TRUE(std::regex_match(message["content"].get<std::string>(), std::regex("[0-9]{4}")))
      << message;
  // With a budget the end of reasoning is forced, and the grammar begins behind it.
  const WireResponse bounded =
      Chat(ChatBody({{"guided_regex", "[0-9]{4}"}, {"thinking_token_budget", 3}}));
  const json answer = json::parse(bounded.body)["choices"][0]["message"];
  EXPECT_TRUE(std::regex_match(answer["content"].get<std::string>(), std::regex("\\s*[0-9]{4}")))
      << answer;
}

}  // namespace
}  // namespace slipstream::testing
