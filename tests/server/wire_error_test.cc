// W19 to W25 of the wire contract and the cheap endpoints.
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

TEST_F(Wire, W19_OneErrorShape) {
  config_.api_keys = {"secret", "other"};
  config_.max_body_bytes = 1000;
  StartServer();
  const std::string key = "authorization: Bearer secret\r\n";
  const auto check = [&](int status, const WireResponse& r) {
    EXPECT_EQ(r.status, status) << r.body;
    ExpectErrorShape(r);
  };
  check(400, Ask("POST", "/v1/completions", "{}", key));
  check(401, Ask("POST", "/v1/completions", "{}"));
  check(401, Ask("POST", "/v1/completions", "{}", "authorization: Bearer secreT\r\n"));
  check(404, Ask("GET", "/v1/nothing", "", key));
  check(404, Ask("POST", "/v1/completions", R"({"model":"gpt-9","prompt":"x"})", key));
  check(405, Ask("GET", "/v1/chat/completions", "", key));
  check(413, Ask("POST", "/v1/completions", std::string(2000, ' '), key));
  check(415, Ask("POST", "/v1/completions", "{}", key + "content-encoding: gzip\r\n"));
  check(400, Ask("POST", "/v1/completions", "{}", key + "content-type: text/plain\r\n"));
  EXPECT_EQ(
      Ask("POST", "/v1/completions", R"({"prompt":"x"})", "authorization: bearer other\r\n").status,
      200);
  EXPECT_EQ(Ask("GET", "/v1/chat/completions", "", key).headers.at("allow"), "POST");
  EXPECT_EQ(Ask("GET", "/health").status, 200);  // asks for no key
  EXPECT_EQ(Ask("GET", "/metrics").status, 200);
}

TEST_F(Wire, W20_BadJson) {
  StartServer();
  for (const char* body : {"", "{", "[]", "null", "{\"prompt\":\"x\",}", "{\"prompt\":\"\xff\"}",
                           "{\"prompt\":\"x\",\"temperature\":1e999}", "\"x\""}) {
    const WireResponse r = Ask("POST", "/v1/completions", body);
    EXPECT_EQ(r.status, 400) << body;
    ExpectErrorShape(r);
  }
  const std::string deep = "{\"prompt\":" + std::string(100'000, '[');
  EXPECT_EQ(Ask("POST", "/v1/completions", deep).status, 400);
}

TEST_F(Wire, W20_BodiesMadeToBeSlowAreRefused) {
  StartServer();
  std::string fields = "{\"prompt\":\"x\"";
  for (int i = 0; i < 200'000; ++i) fields += fmt::format(",\"k{}\":0", i);
  EXPECT_EQ(Ask("POST", "/v1/completions", fields + "}").status, 400);
  std::string prompts = "{\"n\":64,\"prompt\":[[1]";
  for (int i = 0; i < 500'000; ++i) prompts += ",[1]";
  const WireResponse r = Ask("POST", "/v1/completions", prompts + "]}");
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(r.error()["param"], "prompt");
}

TEST_F(Wire, W20_WrongTypesNameTheField) {
  StartServer();
  const std::vector<std::pair<std::string, json>> wrong = {{"temperature", "hot"},
                                                           {"temperature", -1},
                                                           {"temperature", 2.01},
                                                           {"top_p", 0},
                                                           {"top_p", 2},
                                                           {"top_k", 1.5},
                                                           {"min_p", "x"},
                                                           {"n", 0},
                                                           {"n", 65},
                                                           {"n", "1"},
                                                           {"best_of", 65},
                                                           {"max_tokens", -1},
                                                           {"max_tokens", "9"},
                                                           {"stop", 5},
                                                           {"stream", "yes"},
                                                           {"seed", "x"},
                                                           {"presence_penalty", 3},
                                                           {"logit_bias", {{"x", 1}}},
                                                           {"logit_bias", {{"1", 101}}},
                                                           {"logit_bias", {{"99999", 1}}},
                                                           {"frequency_penalty", -3},
                                                           {"repetition_penalty", 0},
                                                           {"model", 5},
                                                           {"stop_token_ids", {"a"}},
                                                           {"min_tokens", 17},
                                                           {"user_is_fine", nullptr}};
  for (const auto& [name, value] : wrong) {
    const json body = {{"prompt", "x"}, {name, value}};
    const WireResponse r = Complete(body);
    if (name == "user_is_fine") {
      EXPECT_EQ(r.status, 200);
      continue;
    }
    EXPECT_EQ(r.status, 400) << body;
    EXPECT_EQ(r.error()["param"], name) << r.body;
    EXPECT_NE(r.error()["message"].get<std::string>().find(name), std::string::npos) << r.body;
  }
  EXPECT_EQ(Chat(json::object()).error()["param"], "messages");
}

TEST_F(Wire, W20_UnknownModel) {
  StartServer();
  const WireResponse r = Chat(ChatBody({{"model", "gpt-9"}}));
  EXPECT_EQ(r.status, 404);
  EXPECT_EQ(r.error()["code"], "model_not_found");
  EXPECT_EQ(r.error()["param"], "model");
}

TEST_F(Wire, W21_ContextOverflowNamesTheLimit) {
  StartServer();
  for (const WireResponse& r :
       {Complete({{"prompt", std::string(600, 'x')}}),
        Complete({{"prompt", "x"}, {"max_tokens", 512}}),
        Chat({{"messages", {{{"role", "user"}, {"content", std::string(600, 'x')}}}}})}) {
    EXPECT_EQ(r.status, 400);
    EXPECT_NE(r.error()["message"].get<std::string>().find("maximum context length is 512 tokens"),
              std::string::npos)
        << r.body;
    EXPECT_EQ(r.error()["code"], "context_length_exceeded");
  }
  EXPECT_EQ(Complete({{"prompt", "x"}, {"max_tokens", 510}}).status, 200);
  EXPECT_EQ(Complete({{"prompt", "x"}, {"max_tokens", 511}}).error()["param"], "max_tokens");
  EXPECT_EQ(Complete({{"prompt", std::string(600, 'x')}}).error()["param"], "prompt");
  EXPECT_EQ(Chat({{"messages", {{{"role", "user"}, {"content", std::string(600, 'x')}}}}})
                .error()["param"],
            "messages");
}

TEST_F(Wire, W21_APromptTooLongForItsBytesIsNotTokenized) {
  StartServer();
  const std::string text(kMaxModelLen * sizeof("<|im_start|>"), 'x');  // the longest token
  const int64_t before = tokenizer_->bytes_seen;
  for (const auto& [field, r] :
       {std::pair{"prompt", Complete({{"prompt", text}})},
        {"messages", Chat({{"messages", {{{"role", "user"}, {"content", text}}}}})}}) {
    EXPECT_EQ(r.status, 400);
    EXPECT_EQ(r.error()["code"], "context_length_exceeded");
    EXPECT_EQ(r.error()["param"], field);
    EXPECT_NE(r.body.find("at least 5"), std::string::npos) << r.body;
  }
  EXPECT_EQ(tokenizer_->bytes_seen, before);
  const std::string shorter(kMaxModelLen + 1, 'x');
  EXPECT_EQ(Complete({{"prompt", shorter}}).status, 400);
  EXPECT_EQ(tokenizer_->bytes_seen, before + kMaxModelLen + 1);
}

TEST_F(Wire, W22_OverloadIs429WithRetryAfter) {
  config_.max_queued_requests = 2;
  model_->Hold();
  StartServer();
  WireClient first(port()), second(port());
  const std::string request =
      WireClient::Format("POST", "/v1/completions", R"({"prompt":"x","stream":true})");
  first.Send(request);
  second.Send(request);
  ASSERT_TRUE(Eventually([&] {
    return Ask("GET", "/metrics").body.find("queued_requests{model_name=\"tiny\"} 2") !=
           std::string::npos;
  }));
  const WireResponse r = Complete({{"prompt", "x"}});
  EXPECT_EQ(r.status, 429);
  ExpectErrorShape(r);
  EXPECT_EQ(r.headers.at("retry-after"), "1");
  EXPECT_EQ(Ask("POST", "/tokenize", R"({"prompt":"x"})").status, 429);
  model_->Release();
  EXPECT_EQ(first.Read().status, 200);
  EXPECT_EQ(second.Read().status, 200);
  EXPECT_EQ(Complete({{"prompt", "x"}}).status, 200);
  EXPECT_EQ(Complete({{"prompt", {"a", "b", "c"}}}).status, 400);  // can never fit
}

TEST_F(Wire, W22_NoRetryOfAFailureThatRepeats) {
  model_->fail_after = 0;
  StartServer();
  const WireResponse r = Complete({{"prompt", "x"}});
  EXPECT_EQ(r.status, 500);
  EXPECT_EQ(r.headers.at("x-should-retry"), "false");
}

TEST_F(Wire, W23_RequestIdOnEveryResponse) {
  StartServer();
  const WireResponse a = Ask("GET", "/health"), b = Ask("GET", "/nothing");
  EXPECT_NE(a.headers.at("x-request-id"), b.headers.at("x-request-id"));
  EXPECT_EQ(Ask("GET", "/nothing", "", "x-request-id: my-id\r\n").headers.at("x-request-id"),
            "my-id");
  EXPECT_NE(Ask("GET", "/", "", "x-request-id: " + std::string(500, 'a') + "\r\n")
                .headers.at("x-request-id")
                .size(),
            500u);
  EXPECT_TRUE(Chat(ChatBody({{"stream", true}})).headers.contains("x-request-id"));
}

TEST_F(Wire, W24_ErrorMessagesAreBounded) {
  StartServer();
  const std::string long_text(100'000, 'y');
  for (const json& body : {json{{"prompt", "x"}, {"temperature", long_text}},
                           json{{"prompt", "x"}, {"model", long_text}},
                           json{{"prompt", "x"}, {"logit_bias", {{long_text, 1}}}}}) {
    const WireResponse r = Complete(body);
    EXPECT_GE(r.status, 400);
    EXPECT_LT(r.body.size(), 2000u);
  }
  EXPECT_LT(Ask("GET", "/" + std::string(20'000, 'z')).body.size(), 2000u);
  const WireResponse many = Ask("POST", "/v1/completions", [&] {
    json body = {{"prompt", "x"}};
    for (int i = 0; i < 1000; ++i) body["unknown" + std::to_string(i)] = i;
    return body.dump();
  }());
  EXPECT_EQ(many.status, 200);
  EXPECT_LT(many.headers.at("x-slipstream-ignored-fields").size(), 600u);
}

TEST_F(Wire, W25_UnknownFieldsAreNamedAndCounted) {
  StartServer();
  for (const bool stream : {false, true}) {
    const WireResponse r =
        Chat(ChatBody({{"stream", stream}, {"frobnicate", 1}, {"user", "me"}, {"zap\r\nx", 2}}));
    EXPECT_EQ(r.status, 200);
    EXPECT_EQ(r.headers.at("x-slipstream-ignored-fields"), "frobnicate, zap??x");
  }
  EXPECT_NE(Ask("GET", "/metrics").body.find("ignored_fields_total{model_name=\"tiny\"} 4"),
            std::string::npos);
  EXPECT_FALSE(Chat(ChatBody()).headers.contains("x-slipstream-ignored-fields"));
}

TEST_F(Wire, W43_Models) {
  StartServer();
  const json list = Ask("GET", "/v1/models").json();
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 2u);
  EXPECT_EQ(list["data"][0]["id"], "tiny");
  EXPECT_EQ(list["data"][0]["max_model_len"], kMaxModelLen);
  EXPECT_EQ(list["data"][0]["created"], 1'700'000'000);
  EXPECT_EQ(list["data"][0]["root"], "models/tiny");
  EXPECT_TRUE(list["data"][0]["parent"].is_null());
  EXPECT_EQ(list["data"][1]["id"], "small");
  EXPECT_EQ(Ask("GET", "/v1/models/tiny").json()["id"], "tiny");
  EXPECT_EQ(Ask("GET", "/v1/models/sm%61ll").json()["id"], "small");
  EXPECT_EQ(Ask("GET", "/v1/models/none").status, 404);
}

TEST_F(Wire, W44_TokenizeAndDetokenize) {
  StartServer();
  const json r = Ask("POST", "/tokenize", R"({"prompt":"hi"})").json();
  EXPECT_EQ(r["count"], 3);
  EXPECT_EQ(r["max_model_len"], kMaxModelLen);
  EXPECT_EQ(r["tokens"], json::array({*tokenizer_->bos_id(), 'h', 'i'}));
  EXPECT_GT(Ask("POST", "/tokenize", ChatBody().dump()).json()["count"], 2);
  EXPECT_EQ(Ask("POST", "/detokenize", R"({"tokens":[104,105]})").json()["prompt"], "hi");
  EXPECT_EQ(Ask("POST", "/detokenize", R"({"tokens":[-1]})").error()["param"], "tokens");
  EXPECT_EQ(Ask("POST", "/tokenize", "{}").error()["param"], "prompt");
  const json texts = Ask("POST", "/tokenize", R"({"prompt":"hi","return_token_strs":true})").json();
  EXPECT_EQ(texts["token_strs"], json::array({"<s>", "h", "i"}));
}

TEST_F(Wire, W44_TokenizerInfoForEvaluations) {
  StartServer();
  const json info = Ask("GET", "/tokenizer_info").json();
  EXPECT_EQ(info["bos_token"], "<s>");
  EXPECT_EQ(info["eos_token"], "</s>");
  EXPECT_EQ(info["chat_template"], template_source_);
  EXPECT_EQ(info["vocab_size"], tokenizer_->vocab_size());
  EXPECT_EQ(info["model_max_length"], kMaxModelLen);
}

TEST_F(Wire, MetricsPage) {
  StartServer();
  EXPECT_EQ(Chat(ChatBody()).status, 200);
  const WireResponse r = Ask("GET", "/metrics");
  EXPECT_TRUE(r.headers.at("content-type").starts_with("text/plain; version=0.0.4"));
  for (const char* line :
       {"slipstream_requests_total{model_name=\"tiny\"} 1",
        "slipstream_request_finished_total{model_name=\"tiny\",finished_reason=\"stop\"} 1",
        "slipstream_time_to_first_token_seconds_count{model_name=\"tiny\"} 1",
        "slipstream_inter_token_latency_seconds_count{model_name=\"tiny\"} 2",
        "slipstream_e2e_request_latency_seconds_count{model_name=\"tiny\"} 1",
        "slipstream_generation_tokens_total", "slipstream_kv_blocks_total{model_name=\"tiny\"} 512",
        "# TYPE slipstream_engine_step_seconds histogram",
        "slipstream_host_memory_bytes{model_name=\"tiny\",kind=\"own\"} ",
        "\nprocess_resident_memory_bytes{model_name=\"tiny\"} "}) {
    EXPECT_NE(r.body.find(line), std::string::npos) << line << "\n" << r.body;
  }
}

TEST_F(Wire, MetricsFinishedAddUpToAdmitted) {
  StartServer();
  // Refused before it is admitted, then after.
  EXPECT_EQ(Ask("POST", "/v1/completions", R"({"prompt":"x","logit_bias":{"999999":1}})").status,
            400);
  EXPECT_EQ(Ask("POST", "/v1/completions", R"({"prompt":"x","max_tokens":100000})").status, 400);
  const std::string page = Ask("GET", "/metrics").body;
  for (const char* line :
       {"slipstream_requests_total{model_name=\"tiny\"} 1\n",
        "slipstream_request_rejections_total{model_name=\"tiny\",reason=\"invalid\"} 2\n",
        "slipstream_request_finished_total{model_name=\"tiny\",finished_reason=\"error\"} 1\n"}) {
    EXPECT_NE(page.find(line), std::string::npos) << line << "\n" << page;
  }
}

}  // namespace
}  // namespace slipstream::testing
