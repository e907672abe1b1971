// One service, two fronts: the same expectations over HTTP and over gRPC.
#include "tests/server/fronts.h"

namespace slipstream::testing {
namespace {

class BothFronts : public Wire, public ::testing::WithParamInterface<const char*> {
 protected:
  BothFronts() { config_.grpc_port = -1; }

  void Connect() {
    StartServer();
    if (std::string_view(GetParam()) == "http") {
      front_ = std::make_unique<HttpFront>(server_->http_port());
    } else {
      front_ = std::make_unique<GrpcFront>(server_->grpc_port());
    }
  }

  static constexpr int kInvalid = 3, kDeadline = 4, kNotFound = 5, kExhausted = 8, kInternal = 13,
                       kUnavailable = 14, kUnauthenticated = 16;
  std::unique_ptr<Front> front_;
};

TEST_P(BothFronts, Generate) {
  Connect();
  const Answer a = front_->Generate({.text = "Hi"});
  ASSERT_EQ(a.code, 0) << a.message;
  EXPECT_EQ(a.texts, std::vector<std::string>{"Hello world"});
  EXPECT_EQ(a.finish, std::vector<std::string>{"stop"});
  EXPECT_EQ(a.ids[0].size(), 3u);
  EXPECT_EQ(a.prompt_tokens, 3);
  EXPECT_EQ(a.completion_tokens, 3);
  const Answer b = front_->Generate({.ids = {256, 72, 105}});
  EXPECT_EQ(b.ids, a.ids);
  EXPECT_EQ(b.prompt_tokens, 3);
}

TEST_P(BothFronts, ChoicesStopsAndLengths) {
  SayForever("Hello STOP here");
  Connect();
  const Answer cut = front_->Generate({.text = "x", .n = 2, .max_tokens = 3});
  ASSERT_EQ(cut.code, 0) << cut.message;
  EXPECT_EQ(cut.finish, (std::vector<std::string>{"length", "length"}));
  EXPECT_EQ(cut.ids[1].size(), 3u);
  EXPECT_EQ(cut.completion_tokens, 6);
  const Answer stopped = front_->Generate({.text = "x", .stop = {"never", "TOP h"}});
  EXPECT_EQ(stopped.texts[0], "Hello S");
  EXPECT_EQ(stopped.finish[0], "stop");
  const Answer digits = front_->Generate({.text = "x", .regex = "[0-9]{3}"});
  EXPECT_EQ(digits.texts[0].size(), 3u);
}

TEST_P(BothFronts, Tokenization) {
  Connect();
  for (const char* text : {"", "abc", "gr\u00fc\u00dfe, <|im_start|>user"}) {
    const Answer tokens = front_->Tokenize(text, false);
    ASSERT_EQ(tokens.code, 0) << tokens.message;
    EXPECT_EQ(tokens.ids[0],
              *tokenizer_->Encode(text, {.add_special_tokens = false, .parse_special = true}));
    EXPECT_EQ(front_->Detokenize(tokens.ids[0]).texts[0], text);
    EXPECT_EQ(front_->Tokenize(text, true).ids[0].size(), tokens.ids[0].size() + 1);
  }
  for (const int32_t id : {-1, 100'000}) {
    const Answer bad = front_->Detokenize({97, id});
    EXPECT_EQ(bad.code, kInvalid);
    EXPECT_EQ(bad.param, "tokens");
  }
}

TEST_P(BothFronts, Embeddings) {
  Connect();
  const Answer a = front_->Embed({.texts = {"abc", "zz"}, .ids = {97, 98, 99}});
  ASSERT_EQ(a.code, 0) << a.message;
  ASSERT_EQ(a.vectors.size(), 3u);
  EXPECT_EQ(a.prompt_tokens, 4 + 3 + 3);
  EXPECT_EQ(a.vectors[0], a.vectors[2]);
  EXPECT_NE(a.vectors[0], a.vectors[1]);
  for (const auto& vector : a.vectors) {
    ASSERT_EQ(vector.size(), static_cast<size_t>(kHiddenSize));
    double squares = 0;
    for (const double x : vector) squares += x * x;
    EXPECT_NEAR(squares, 1.0, 1e-6);
  }
  const Answer raw = front_->Embed(
      {.texts = {}, .ids = {97, 98}, .pooling = "mean", .dimensions = 3, .normalize = false});
  ASSERT_EQ(raw.code, 0) << raw.message;
  for (int d = 0; d < 3; ++d) {
    EXPECT_NEAR(raw.vectors[0][d], (StateOf(97, 8)[d] + StateOf(98, 8)[d]) / 2, 1e-6);
  }
  EXPECT_EQ(raw.vectors[0].size(), 3u);
}

TEST_P(BothFronts, ErrorsOfEmbeddings) {
  Connect();
  const std::pair<EmbedAsk, const char*> bad[] = {
      {{}, "input"},
      {{.ids = {99'999}}, "input"},
      {{.texts = {std::string(600, 'x')}}, "input"},
      {{.texts = {"a"}, .dimensions = 0}, "dimensions"},
      {{.texts = {"a"}, .dimensions = 9}, "dimensions"},
  };
  for (const auto& [ask, param] : bad) {
    const Answer a = front_->Embed(ask);
    EXPECT_EQ(a.code, kInvalid) << a.message;
    EXPECT_EQ(a.param, param) << a.message;
  }
  EXPECT_EQ(front_->Embed({.texts = {"a"}, .model = "gpt-9"}).code, kNotFound);
}

TEST_P(BothFronts, ErrorsOfGeneration) {
  Connect();
  const std::pair<Call, const char*> bad[] = {
      {{}, "prompt"},
      {{.ids = {97, 99'999}}, "prompt"},
      {{.text = std::string(600, 'x')}, "prompt"},
      {{.text = "x", .n = 65}, "n"},
      {{.text = "x", .temperature = -1}, "temperature"},
  };
  for (const auto& [call, param] : bad) {
    const Answer a = front_->Generate(call);
    EXPECT_EQ(a.code, kInvalid) << a.message;
    EXPECT_EQ(a.param, param) << a.message;
  }
  EXPECT_NE(front_->Generate({.text = std::string(600, 'x')})
                .message.find("maximum context length is 512 tokens"),
            std::string::npos);
  EXPECT_EQ(front_->Generate({.text = "x", .model = "gpt-9"}).code, kNotFound);
  EXPECT_EQ(front_->Generate({.text = "x", .model = "small"}).code, 0);
}

TEST_P(BothFronts, KeysGuardEveryCall) {
  config_.api_keys = {"secret"};
  Connect();
  EXPECT_EQ(front_->Generate({.text = "x"}).code, kUnauthenticated);
  EXPECT_EQ(front_->Generate({.text = "x", .key = "wrong"}).code, kUnauthenticated);
  EXPECT_EQ(front_->Generate({.text = "x", .key = "secret"}).code, 0);
  EXPECT_EQ(front_->Embed({.texts = {"x"}}).code, kUnauthenticated);
  EXPECT_EQ(front_->Embed({.texts = {"x"}, .key = "secret"}).code, 0);
  EXPECT_EQ(front_->Tokenize("x", true).code, kUnauthenticated);
  EXPECT_EQ(front_->Detokenize({97}).code, kUnauthenticated);
  EXPECT_TRUE(front_->Ready()) << "asks for none";
}

TEST_P(BothFronts, LeavingFreesTheBlocks) {
  SayForever("abc");
  model_->HoldAfter(5);
  Connect();
  front_->LeaveInTheMiddle({.text = "x", .n = 3, .max_tokens = 400});
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
  model_->Hold();
  front_->GiveUpOnEmbedding(50);
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
}

TEST_P(BothFronts, Deadlines) {
  SayForever("abc");
  Connect();
  model_->Hold();
  EXPECT_EQ(front_->GenerateWithin({.text = "x"}, 50), kDeadline);
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
}

TEST_P(BothFronts, AFullQueueIsExhausted) {
  config_.max_queued_requests = 2;
  Connect();
  EXPECT_EQ(front_->Embed({.texts = {"a", "b"}}).code, 0);
  model_->Hold();
  WireClient waits(server_->http_port());
  waits.Send(WireClient::Format("POST", "/v1/embeddings", R"({"input":["a","b"]})"));
  EXPECT_TRUE(Eventually([&] { return PageHas("queued_requests{model_name=\"tiny\"} 2\n"); }));
  EXPECT_EQ(front_->Generate({.text = "x"}).code, kExhausted);
  EXPECT_EQ(front_->Embed({.texts = {"x"}}).code, kExhausted);
  EXPECT_EQ(front_->Tokenize("x", true).code, kExhausted);
  model_->Release();
  EXPECT_EQ(waits.Read().status, 200);
}

TEST_P(BothFronts, AFailedStepIsInternal) {
  Connect();
  for (const bool embeds : {false, true}) {
    model_->fail_after = 0;
    const Answer a = embeds ? front_->Embed({.texts = {"x"}}) : front_->Generate({.text = "x"});
    EXPECT_EQ(a.code, kInternal);
    EXPECT_NE(a.message.find("out of memory"), std::string::npos) << a.message;
  }
}

TEST_P(BothFronts, DrainRefusesWork) {
  Connect();
  EXPECT_TRUE(front_->Ready());
  EXPECT_EQ(front_->ModelName(), "tiny");
  server_->BeginDrain(10);
  EXPECT_FALSE(front_->Ready());
  EXPECT_EQ(front_->Generate({.text = "x"}).code, kUnavailable);
  EXPECT_EQ(front_->Embed({.texts = {"x"}}).code, kUnavailable);
}

INSTANTIATE_TEST_SUITE_P(Fronts, BothFronts, ::testing::Values("http", "grpc"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace slipstream::testing
