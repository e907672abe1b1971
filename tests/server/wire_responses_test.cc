// /v1/responses: whole answers, the sequence of typed events, what is remembered, errors.
#include "server/openai/response_store.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

struct TypedEvents {
  std::vector<json> list;
  std::string types;  // one per line, deltas once
};

TypedEvents Read(const std::string& body) {
  TypedEvents events;
  std::string last;
  size_t at = 0;
  while (at < body.size()) {
    const size_t end = body.find("\n\n", at);
    const std::string text = body.substr(at, end - at);
    at = end == std::string::npos ? body.size() : end + 2;
    if (text.starts_with(":")) continue;
    const size_t line = text.find("\ndata: ");
    if (!text.starts_with("event: ") || line == std::string::npos) {
      ADD_FAILURE() << "not a typed event: " << text;
      continue;
    }
    json event = json::parse(text.substr(line + 7), nullptr, false);
    EXPECT_EQ(event["type"], text.substr(7, line - 7));
    EXPECT_EQ(event["sequence_number"], events.list.size());
    const std::string type = event["type"];
    if (type != last || !type.ends_with(".delta")) events.types += type + "\n";
    last = type;
    events.list.push_back(std::move(event));
  }
  return events;
}

class WireResponses : public Wire {
 protected:
  WireResponse Create(json more) {
    json body = {{"model", "tiny"}, {"input", "Hi"}};
    body.update(more);
    return Ask("POST", "/v1/responses", body.dump());
  }
};

TEST_F(WireResponses, WholeAnswerHasItemsUsageAndEcho) {
  StartServer();
  const WireResponse r = Create({{"metadata", {{"k", "v"}}}, {"instructions", "Be kind"}});
  ASSERT_EQ(r.status, 200) << r.body;
  const json j = r.json();
  EXPECT_TRUE(j["id"].get<std::string>().starts_with("resp_"));
  EXPECT_EQ(j["object"], "response");
  EXPECT_EQ(j["status"], "completed");
  ASSERT_EQ(j["output"].size(), 1u);
  EXPECT_EQ(j["output"][0]["type"], "message");
  EXPECT_EQ(j["output"][0]["content"][0]["text"], "Hello world");
  EXPECT_EQ(j["metadata"]["k"], "v");
  EXPECT_EQ(j["instructions"], "Be kind");
  EXPECT_GT(j["usage"]["input_tokens"], 0);
  EXPECT_EQ(j["usage"]["total_tokens"],
            j["usage"]["input_tokens"].get<int>() + j["usage"]["output_tokens"].get<int>());
}

TEST_F(WireResponses, W07_StreamIsTheSequenceThatClientsParseAndJoinsToTheWhole) {
  StartServer();
  const TypedEvents events = Read(Create({{"stream", true}}).body);
  EXPECT_EQ(events.types,
            "response.created\nresponse.in_progress\nresponse.output_item.added\n"
            "response.content_part.added\nresponse.output_text.delta\n"
            "response.output_text.done\nresponse.content_part.done\n"
            "response.output_item.done\nresponse.completed\n");
  std::string text;
  for (const json& event : events.list) {
    if (event["type"] == "response.output_text.delta") text += event["delta"];
  }
  EXPECT_EQ(text, "Hello world");
  const json& last = events.list.back()["response"];
  EXPECT_EQ(last["output"][0]["content"][0]["text"], text);
  EXPECT_EQ(Ask("GET", "/v1/responses/" + last["id"].get<std::string>()).json(), last);
}

TEST_F(WireResponses, CallsAreItemsWithTheirArguments) {
  template_source_ =
      "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
      "{% if tools %}{{ tools | length }}{% endif %}{# <tool_call> #}";
  Say("Well. <tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>");
  StartServer();
  const json tools = {{"tools", {{{"type", "function"}, {"name", "f"}}}}};
  const json whole = Create(tools).json();
  ASSERT_EQ(whole["output"].size(), 2u) << whole;
  EXPECT_EQ(whole["output"][1]["type"], "function_call");
  EXPECT_EQ(whole["output"][1]["name"], "f");
  EXPECT_EQ(whole["output"][1]["arguments"], "{\"a\": 1}");
  json streamed = tools;
  streamed["stream"] = true;
  const TypedEvents events = Read(Create(streamed).body);
  std::string arguments;
  for (const json& event : events.list) {
    if (event["type"] == "response.function_call_arguments.delta") arguments += event["delta"];
  }
  EXPECT_EQ(arguments, "{\"a\": 1}");
  EXPECT_EQ(events.list.back()["response"]["output"][1]["arguments"], arguments);
  // And back again.
  const WireResponse next = Create({{"previous_response_id", whole["id"]},
                                    {"input",
                                     {{{"type", "function_call_output"},
                                       {"call_id", whole["output"][1]["call_id"]},
                                       {"output", "3"}}}}});
  EXPECT_EQ(next.status, 200) << next.body;
}

TEST_F(WireResponses, LogprobsOfTheTextWhenTheyAreAskedFor) {
  template_source_ =
      "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}{# <tool_call> #}";
  Say("Well. <tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>");
  StartServer();
  json ask = {{"tools", {{{"type", "function"}, {"name", "f"}}}}};
  EXPECT_EQ(Create(ask).json()["output"][0]["content"][0]["logprobs"], json::array());
  ask["include"] = {"message.output_text.logprobs"};
  ask["top_logprobs"] = 2;
  const json whole = Create(ask).json();
  EXPECT_EQ(whole["top_logprobs"], 2);
  const json content = whole["output"][0]["content"][0];
  std::string text;
  for (const json& entry : content["logprobs"]) {
    text += entry["token"];
    EXPECT_LT(entry["logprob"], 0);
    EXPECT_EQ(entry["top_logprobs"].size(), 2u);
  }
  EXPECT_TRUE(content["text"].get<std::string>().starts_with(text) && text.starts_with("Well."))
      << content;
  ask["stream"] = true;
  json streamed = json::array();
  for (const json& event : Read(Create(ask).body).list) {
    if (event["type"] == "response.output_text.done") {
      EXPECT_EQ(event["logprobs"], content["logprobs"]);
    }
    if (event["type"] != "response.output_text.delta") continue;
    for (const json& entry : event["logprobs"]) streamed.push_back(entry);
  }
  EXPECT_EQ(streamed, content["logprobs"]);
  ask["top_logprobs"] = 21;
  EXPECT_EQ(Create(ask).error()["param"], "top_logprobs");
  EXPECT_EQ(Create({{"include", {5}}}).error()["param"], "include");
}

TEST_F(WireResponses, TruncationDropsTheOldestTurns) {
  StartServer();
  const auto message = [](const char* role, size_t size) {
    return json{{"role", role}, {"content", std::string(size, 'x')}};
  };
  const json system = message("system", 5), last = message("user", 100);
  const json all = {system,
                    message("user", 200),
                    message("assistant", 100),
                    message("user", 100),
                    message("assistant", 100),
                    last};
  const auto tokens = [&](const json& input) {
    return Create({{"input", input}}).json()["usage"]["input_tokens"];
  };
  const WireResponse refused = Create({{"input", all}});
  EXPECT_EQ(refused.error()["code"], "context_length_exceeded") << refused.body;
  const json cut = Create({{"input", all}, {"truncation", "auto"}}).json();
  EXPECT_EQ(cut["truncation"], "auto");
  EXPECT_EQ(cut["usage"]["input_tokens"], tokens({system, all[3], all[4], last}));
  // The answer is left the room it may take.
  const json wide =
      Create({{"input", all}, {"truncation", "auto"}, {"max_output_tokens", 300}}).json();
  EXPECT_EQ(wide["usage"]["input_tokens"], tokens({system, last}));
  // What was said before counts, too.
  const json next =
      Create({{"input", {last}}, {"previous_response_id", cut["id"]}, {"truncation", "auto"}})
          .json();
  EXPECT_EQ(next["status"], "completed") << next;
  EXPECT_EQ(Create({{"input", std::string(600, 'x')}, {"truncation", "auto"}}).status, 400);
  EXPECT_EQ(Create({{"truncation", "sometimes"}}).error()["param"], "truncation");
}

TEST_F(WireResponses, CutAnswersAreIncomplete) {
  SayForever("a ");
  StartServer();
  const json j = Create({{"max_output_tokens", 3}}).json();
  EXPECT_EQ(j["status"], "incomplete");
  EXPECT_EQ(j["incomplete_details"]["reason"], "max_output_tokens");
  const TypedEvents events = Read(Create({{"max_output_tokens", 3}, {"stream", true}}).body);
  EXPECT_EQ(events.list.back()["type"], "response.incomplete");
}

TEST_F(WireResponses, AFailureWithinAStreamIsItsLastEvent) {
  SayForever("a ");
  StartServer();
  model_->fail_after = 4;
  const TypedEvents events = Read(Create({{"stream", true}}).body);
  ASSERT_FALSE(events.list.empty());
  EXPECT_EQ(events.list.back()["type"], "response.failed");
  EXPECT_TRUE(events.list.back()["response"]["error"]["message"].is_string());
}

TEST_F(WireResponses, RemembersWhatItMay) {
  StartServer();
  const json first = Create(json::object()).json();
  const std::string id = first["id"];
  const json second = Create({{"previous_response_id", id}}).json();
  EXPECT_GT(second["usage"]["input_tokens"], first["usage"]["input_tokens"]);
  EXPECT_EQ(second["previous_response_id"], id);
  EXPECT_EQ(Ask("DELETE", "/v1/responses/" + id).json()["deleted"], true);
  EXPECT_EQ(Ask("GET", "/v1/responses/" + id).status, 404);
  EXPECT_EQ(Ask("DELETE", "/v1/responses/" + id).status, 404);
  const WireResponse gone = Create({{"previous_response_id", id}});
  EXPECT_EQ(gone.status, 404);
  EXPECT_EQ(gone.error()["param"], "previous_response_id");
  const std::string unkept = Create({{"store", false}}).json()["id"];
  EXPECT_EQ(Ask("GET", "/v1/responses/" + unkept).status, 404);
}

TEST_F(WireResponses, ErrorsNameTheField) {
  StartServer();
  const std::vector<std::pair<json, std::string>> wrong = {
      {{{"input", 7}}, "input"},
      {{{"input", json::array()}}, "input"},
      {{{"prompt_logprobs", 1}}, "prompt_logprobs"},
      {{{"input", {{{"type", "item_reference"}, {"id", "x"}}}}}, "input[0].type"},
      {{{"input", {{{"role", "user"}, {"content", {{{"type", "input_image"}}}}}}}},
       "input[0].content[0].type"},
      {{{"tools", {{{"type", "web_search"}}}}}, "tools[0].type"},
      {{{"background", true}}, "background"},
      {{{"max_output_tokens", 0}}, "max_output_tokens"},
      {{{"temperature", "hot"}}, "temperature"},
      {{{"messages", json::array({1})}}, "messages"}};
  for (const auto& [more, param] : wrong) {
    const WireResponse r = Create(more);
    EXPECT_EQ(r.status, 400) << more;
    ExpectErrorShape(r);
    EXPECT_EQ(r.error()["param"], param) << r.body;
  }
}

TEST(ResponseStoreTest, ForgetsTheLeastRecentlyUsedAndKeepsOwnersApart) {
  ResponseStore store(2, 100'000);
  store.Put("a", {"me", "A", "[]"});
  store.Put("b", {"me", "B", "[]"});
  EXPECT_FALSE(store.Get("a", "you"));
  EXPECT_FALSE(store.Erase("a", "you"));
  EXPECT_TRUE(store.Get("a", "me"));
  store.Put("c", {"me", "C", "[]"});
  EXPECT_FALSE(store.Get("b", "me"));
  EXPECT_TRUE(store.Get("a", "me"));
  store.Put("big", {"me", std::string(200'000, 'x'), "[]"});
  EXPECT_FALSE(store.Get("big", "me"));
  EXPECT_TRUE(store.Get("c", "me"));
  store.Put("half", {"me", std::string(99'700, 'x'), "[]"});
  EXPECT_FALSE(store.Get("a", "me"));
}

}  // namespace
}  // namespace slipstream::testing
