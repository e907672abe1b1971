// /v1/messages: whole answers, the sequence of events, tools, stop reasons, keys and errors.
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

constexpr const char* kToolTemplate =
    "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
    "{% if tools %}{{ tools | length }}{% endif %}{# <tool_call> #}";

std::vector<json> TypedEvents(const std::string& body) {
  std::vector<json> events;
  size_t at = 0;
  while (at < body.size()) {
    const size_t end = body.find("\n\n", at);
    const std::string text = body.substr(at, end - at);
    at = end == std::string::npos ? body.size() : end + 2;
    const size_t line = text.find("\ndata: ");
    if (!text.starts_with("event: ") || line == std::string::npos) {
      ADD_FAILURE() << "not a typed event: " << text;
      continue;
    }
    events.push_back(json::parse(text.substr(line + 7), nullptr, false));
    EXPECT_EQ(events.back()["type"], text.substr(7, line - 7));
  }
  return events;
}

class WireMessages : public Wire {
 protected:
  static json Body(const json& more) {
    json body = {{"model", "tiny"},
                 {"max_tokens", 100},
                 {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
    body.update(more);
    return body;
  }
  WireResponse Create(const json& more, const std::string& headers = "") {
    return Ask("POST", "/v1/messages", Body(more).dump(), headers);
  }
};

TEST_F(WireMessages, WholeAnswer) {
  StartServer();
  const WireResponse r = Create({{"system", "Be kind"}});
  ASSERT_EQ(r.status, 200) << r.body;
  const json j = r.json();
  EXPECT_TRUE(j["id"].get<std::string>().starts_with("msg_"));
  EXPECT_EQ(j["type"], "message");
  EXPECT_EQ(j["role"], "assistant");
  EXPECT_EQ(j["content"], json::parse(R"([{"type":"text","text":"Hello world"}])"));
  EXPECT_EQ(j["stop_reason"], "end_turn");
  EXPECT_TRUE(j["stop_sequence"].is_null());
  EXPECT_GT(j["usage"]["input_tokens"], 0);
  EXPECT_GT(j["usage"]["output_tokens"], 0);
}

TEST_F(WireMessages, StreamIsTheSequenceThatClientsParseAndJoinsToTheWhole) {
  StartServer();
  const std::vector<json> events = TypedEvents(Create({{"stream", true}}).body);
  ASSERT_GE(events.size(), 6u);
  EXPECT_EQ(events[0]["type"], "message_start");
  EXPECT_GT(events[0]["message"]["usage"]["input_tokens"], 0);
  EXPECT_EQ(events[1]["type"], "content_block_start");
  EXPECT_EQ(events[1]["content_block"], json::parse(R"({"type":"text","text":""})"));
  std::string text;
  for (size_t i = 2; i + 3 < events.size(); ++i) {
    EXPECT_EQ(events[i]["type"], "content_block_delta");
    text += events[i]["delta"]["text"];
  }
  EXPECT_EQ(text, "Hello world");
  EXPECT_EQ(events[events.size() - 3]["type"], "content_block_stop");
  EXPECT_EQ(events[events.size() - 2]["type"], "message_delta");
  EXPECT_EQ(events[events.size() - 2]["delta"]["stop_reason"], "end_turn");
  EXPECT_EQ(events.back()["type"], "message_stop");
}

TEST_F(WireMessages, CallsAreToolUseBlocks) {
  template_source_ = kToolTemplate;
  Say("Well. <tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>");
  StartServer();
  json body = {{"tools", {{{"name", "f"}, {"input_schema", {{"type", "object"}}}}}}};
  const json whole = Create(body).json();
  ASSERT_EQ(whole["content"].size(), 2u) << whole;
  EXPECT_EQ(whole["stop_reason"], "tool_use");
  const json call = whole["content"][1];
  EXPECT_EQ(call["type"], "tool_use");
  EXPECT_EQ(call["name"], "f");
  EXPECT_EQ(call["input"], json::parse(R"({"a":1})"));
  body["stream"] = true;
  std::string input;
  for (const json& event : TypedEvents(Create(body).body)) {
    if (event["type"] == "content_block_delta" && event["index"] == 1) {
      input += event["delta"]["partial_json"];
    }
  }
  EXPECT_EQ(json::parse(input, nullptr, false), call["input"]);
  body.erase("stream");
  body["messages"] = {
      {{"role", "user"}, {"content", "Hi"}},
      {{"role", "assistant"}, {"content", whole["content"]}},
      {{"role", "user"},
       {"content", {{{"type", "tool_result"}, {"tool_use_id", call["id"]}, {"content", "3"}}}}}};
  const WireResponse next = Create(body);
  EXPECT_EQ(next.status, 200) << next.body;
}

TEST_F(WireMessages, TheFormOfTheAnswerIsConstrained) {
  Say("{\"colour\": \"blue\"}");
  StartServer();
  const json schema = {{"type", "object"},
                       {"properties", {{"colour", {{"const", "red"}}}}},
                       {"required", {"colour"}},
                       {"additionalProperties", false}};
  const json format = {{"type", "json_schema"}, {"schema", schema}};
  const json asks[] = {{{"output_config", {{"format", format}, {"effort", "low"}}}},
                       {{"output_format", format}}};
  for (const json& more : asks) {
    const WireResponse r = Create(more);
    ASSERT_EQ(r.status, 200) << r.body;
    const json answer = json::parse(r.json()["content"][0]["text"].get<std::string>());
    EXPECT_EQ(answer, json({{"colour", "red"}})) << more;
  }
  EXPECT_EQ(Create({{"output_config", {{"format", nullptr}}}}).status, 200);
  const json wrong[] = {{{"output_config", 5}},
                        {{"output_config", {{"format", {{"type", "xml"}}}}}},
                        {{"output_config", {{"format", {{"type", "json_schema"}}}}}},
                        {{"output_format", {{"type", "json_schema"}, {"schema", 5}}}}};
  for (const json& more : wrong) {
    const WireResponse r = Create(more);
    EXPECT_EQ(r.status, 400) << more;
    EXPECT_NE(r.error()["message"].get<std::string>().find("output_"), std::string::npos) << r.body;
  }
}

TEST_F(WireMessages, StrictToolsConstrainTheirCalls) {
  template_source_ = kToolTemplate;
  Say("<tool_call>\n{\"name\": \"wrong\", \"arguments\": {}}\n</tool_call>");
  StartServer();
  json tools = {{{"name", "f"}, {"strict", true}, {"input_schema", {{"type", "object"}}}}};
  EXPECT_EQ(Create({{"tools", tools}}).json()["content"][0]["name"], "f");
  tools[0].erase("strict");
  EXPECT_EQ(Create({{"tools", tools}}).json()["content"][0]["name"], "wrong");
}

TEST_F(WireMessages, StopReasons) {
  Say("one two END three");
  StartServer();
  const json stopped = Create({{"stop_sequences", {"END"}}}).json();
  EXPECT_EQ(stopped["stop_reason"], "stop_sequence");
  EXPECT_EQ(stopped["stop_sequence"], "END");
  EXPECT_EQ(stopped["content"][0]["text"], "one two ");
  EXPECT_EQ(Create({{"max_tokens", 1}}).json()["stop_reason"], "max_tokens");
}

TEST_F(WireMessages, CountsTokensAsTheAnswerDoes) {
  StartServer();
  json body = Body(json::object());
  body.erase("max_tokens");
  const json count = Ask("POST", "/v1/messages/count_tokens", body.dump()).json();
  EXPECT_EQ(count["input_tokens"], Create(json::object()).json()["usage"]["input_tokens"]) << count;
}

TEST_F(WireMessages, GoesOnWithWhatWasPutIntoItsMouth) {
  StartServer();
  const json messages = {{{"role", "user"}, {"content", "Hi"}},
                         {{"role", "assistant"}, {"content", "The answer is"}}};
  const json prompt = {
      {"messages", messages}, {"continue_final_message", true}, {"add_generation_prompt", false}};
  const json rendered = Ask("POST", "/tokenize", prompt.dump()).json();
  const json answer = Create({{"messages", messages}}).json();
  EXPECT_EQ(answer["usage"]["input_tokens"], rendered["count"]) << answer;
}

// Clients ask every model to think.
TEST_F(WireMessages, ThinkingOfAModelThatDoesNotIsAnIgnoredField) {
  StartServer();
  const json thinking = {{"thinking", {{"type", "enabled"}, {"budget_tokens", 1024}}}};
  const WireResponse r = Create(thinking);
  EXPECT_EQ(r.status, 200) << r.body;
  EXPECT_NE(r.headers.at("x-slipstream-ignored-fields").find("thinking"), std::string::npos);
  config_.strict_fields = true;
  StopServer();
  StartServer();
  EXPECT_EQ(Create(thinking).status, 400);
}

TEST_F(WireMessages, TakesItsKeyFromItsOwnHeader) {
  config_.api_keys = {"secret"};
  StartServer();
  EXPECT_EQ(Create(json::object()).status, 401);
  EXPECT_EQ(Create(json::object(), "x-api-key: wrong\r\n").status, 401);
  EXPECT_EQ(Create(json::object(), "x-api-key: secret\r\n").status, 200);
}

TEST_F(WireMessages, ErrorsHaveTheShapeOfTheApi) {
  StartServer();
  for (const json& more :
       {json{{"max_tokens", nullptr}}, json{{"messages", json::array()}}, json{{"messages", 7}},
        json{{"messages", {{{"role", "system"}, {"content", "x"}}}}},
        json{{"messages", {{{"role", "user"}, {"content", {{{"type", "image"}}}}}}}},
        json{{"tools", {{{"type", "web_search"}, {"name", "w"}}}}}, json{{"temperature", "hot"}},
        json{{"temperature", 1.01}}, json{{"temperature", -0.1}}}) {
    const WireResponse r = Create(more);
    EXPECT_EQ(r.status, 400) << more;
    EXPECT_EQ(r.json()["type"], "error");
    EXPECT_EQ(r.error()["type"], "invalid_request_error");
    EXPECT_TRUE(r.error()["message"].is_string());
  }
  const WireResponse unknown = Create({{"model", "other"}});
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(unknown.error()["type"], "not_found_error");
}

// What is refused before the request is read, too.
TEST_F(WireMessages, RefusalsHaveTheShapeOfTheApi) {
  config_.api_keys = {"secret"};
  config_.max_body_bytes = 2000;
  StartServer();
  const auto expect = [](const WireResponse& r, int status, const char* type) {
    EXPECT_EQ(r.status, status) << r.body;
    EXPECT_EQ(r.json()["type"], "error") << r.body;
    EXPECT_EQ(r.error()["type"], type) << r.body;
    EXPECT_FALSE(r.error()["message"].get<std::string>().empty());
  };
  const std::string key = "x-api-key: secret\r\n";
  expect(Create(json::object()), 401, "authentication_error");
  expect(Create({{"system", std::string(4000, 'x')}}, key), 413, "request_too_large");
  expect(Ask("GET", "/v1/messages", "", key), 405, "invalid_request_error");
  expect(Create(json::object(), key + "content-encoding: gzip\r\n"), 415, "invalid_request_error");
  expect(Ask("POST", "/v1/messages/batches", "{}", key), 404, "not_found_error");
  expect(Create(json::object(), key + "x-request-timeout: soon\r\n"), 400, "invalid_request_error");
  expect(Ask("POST", "/v1/messages", "", key + "transfer-encoding: gzip\r\n"), 501, "api_error");
  expect(Create(json::object(), key + "transfer-encoding: chunked\r\n"), 400,
         "invalid_request_error");
  // What cannot be parsed still tells the path by its first line.
  const std::string large = "x-large: " + std::string(config_.max_header_bytes, 'x') + "\r\n";
  expect(Create(json::object(), key + large), 431, "invalid_request_error");
  expect(Ask("POST", "/v1/messages?beta=true", "{}", key + large), 431, "invalid_request_error");
  expect(Create(json::object(), key + "no colon\r\n"), 400, "invalid_request_error");
  // Elsewhere the shape is the other one.
  EXPECT_FALSE(Ask("POST", "/v1/chat/completions", "{}").json().contains("type"));
  EXPECT_FALSE(Ask("POST", "/v1/chat/completions", "{}", large).json().contains("type"));
}

TEST_F(WireMessages, AFailureWithinAStreamIsItsLastEvent) {
  SayForever("a ");
  StartServer();
  model_->fail_after = 4;
  const std::vector<json> events = TypedEvents(Create({{"stream", true}}).body);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back()["type"], "error");
  EXPECT_EQ(events.back()["error"]["type"], "api_error");
}

}  // namespace
}  // namespace slipstream::testing
