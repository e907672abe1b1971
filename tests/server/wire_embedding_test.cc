// POST /v1/embeddings as clients use it.
#include <openssl/evp.h>

#include <cmath>
#include <cstring>

#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

class Embeddings : public Wire {
 protected:
  WireResponse Embed(const json& body) { return Ask("POST", "/v1/embeddings", body.dump()); }

  // What the fake model's states make of these tokens.
  static std::vector<double> Expected(const std::vector<int32_t>& ids, bool mean,
                                      size_t dimensions = kHiddenSize, bool normalize = true) {
    std::vector<double> sum(kHiddenSize);
    for (size_t i = mean ? 0 : ids.size() - 1; i < ids.size(); ++i) {
      const std::vector<double> state = StateOf(ids[i], kHiddenSize);
      for (size_t d = 0; d < sum.size(); ++d) sum[d] += state[d];
    }
    if (mean) {
      for (double& x : sum) x /= static_cast<double>(ids.size());
    }
    sum.resize(dimensions);
    double squares = 0;
    for (const double x : sum) squares += x * x;
    if (normalize) {
      for (double& x : sum) x /= std::sqrt(squares);
    }
    return sum;
  }

  std::vector<int32_t> Ids(const std::string& text) const {
    return *tokenizer_->Encode(text, {.add_special_tokens = true, .parse_special = true});
  }

  static void ExpectNear(const json& got, const std::vector<double>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i].get<double>(), want[i], 1e-6) << i;
  }
};

TEST_F(Embeddings, W27InputInEveryForm) {
  StartServer();
  const json forms = {"abc", {"abc", "xyz"}, {97, 98, 99}, {{97, 98, 99}, {120}}};
  for (const json& input : forms) {
    const WireResponse r = Embed({{"model", "tiny"}, {"input", input}});
    ASSERT_EQ(r.status, 200) << r.body;
    const json answer = r.json();
    EXPECT_EQ(answer["object"], "list");
    EXPECT_EQ(answer["model"], "tiny");
    const json list = input.is_array() && !input[0].is_number() ? input : json::array({input});
    ASSERT_EQ(answer["data"].size(), list.size());
    int64_t tokens = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      const auto ids = list[i].is_string() ? Ids(list[i]) : list[i].get<std::vector<int32_t>>();
      tokens += static_cast<int64_t>(ids.size());
      EXPECT_EQ(answer["data"][i]["object"], "embedding");
      EXPECT_EQ(answer["data"][i]["index"], i);
      ExpectNear(answer["data"][i]["embedding"], Expected(ids, false));
    }
    EXPECT_EQ(answer["usage"], (json{{"prompt_tokens", tokens}, {"total_tokens", tokens}}));
  }
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(Embeddings, W45Base64IsLittleEndianFloat32) {
  StartServer();
  const json floats = Embed({{"input", "abc"}}).json()["data"][0]["embedding"];
  const std::string text =
      Embed({{"input", "abc"}, {"encoding_format", "base64"}}).json()["data"][0]["embedding"];
  std::vector<unsigned char> bytes(text.size());
  ASSERT_GT(EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(text.data()),
                            static_cast<int>(text.size())),
            0);
  for (size_t i = 0; i < kHiddenSize; ++i) {
    float x = 0;
    std::memcpy(&x, bytes.data() + i * sizeof x, sizeof x);
    EXPECT_EQ(x, floats[i].get<float>());
  }
}

TEST_F(Embeddings, PoolingDimensionsAndNormalize) {
  StartServer();
  const auto vector = [&](json more) {
    more["input"] = "some text";
    return Embed(more).json()["data"][0]["embedding"];
  };
  const auto ids = Ids("some text");
  ExpectNear(vector({{"pooling", "mean"}}), Expected(ids, true));
  ExpectNear(vector({{"pooling", "last"}}), Expected(ids, false));
  ExpectNear(vector({{"dimensions", 3}}), Expected(ids, false, 3));
  ExpectNear(vector({{"pooling", "mean"}, {"normalize", false}}),
             Expected(ids, true, kHiddenSize, false));
}

TEST_F(Embeddings, TheServersOptionIsTheDefault) {
  config_.pooling = "mean";
  StartServer();
  ExpectNear(Embed({{"input", "ab"}}).json()["data"][0]["embedding"], Expected(Ids("ab"), true));
}

TEST_F(Embeddings, W20BadRequestsNameTheField) {
  StartServer();
  const std::pair<json, const char*> bad[] = {
      {json::object(), "input"},
      {{{"input", json::array()}}, "input"},
      {{{"input", 5}}, "input"},
      {{{"input", {"a", 5}}}, "input"},
      {{{"input", {1, "a"}}}, "input"},
      {{{"input", {1, 99999}}}, "input"},
      {{{"input", {json::array()}}}, "input"},
      {{{"input", std::string(600, 'x')}}, "input"},
      {{{"input", "a"}, {"encoding_format", "hex"}}, "encoding_format"},
      {{{"input", "a"}, {"dimensions", 0}}, "dimensions"},
      {{{"input", "a"}, {"dimensions", kHiddenSize + 1}}, "dimensions"},
      {{{"input", "a"}, {"pooling", "max"}}, "pooling"},
      {{{"input", "a"}, {"normalize", "yes"}}, "normalize"},
  };
  for (const auto& [body, param] : bad) {
    const WireResponse r = Embed(body);
    EXPECT_EQ(r.status, 400) << body << r.body;
    ExpectErrorShape(r);
    EXPECT_EQ(r.error()["param"], param) << body;
  }
  EXPECT_EQ(Embed({{"input", std::string(600, 'x')}}).error()["code"], "context_length_exceeded");
  EXPECT_EQ(Embed({{"input", "a"}, {"model", "gpt-9"}}).status, 404);
  // As long as the context: there is nothing to generate.
  const std::string full(kMaxModelLen - 1, 'x');
  EXPECT_EQ(Embed({{"input", full}}).status, 200);
  EXPECT_EQ(Embed({{"input", "a"}, {"user", "me"}, {"colour", 1}})
                .headers.at("x-slipstream-ignored-fields"),
            "colour");
}

TEST_F(Embeddings, W42ADisconnectFreesTheBlocks) {
  StartServer();
  model_->Hold();
  {
    WireClient client(port());
    client.Send(WireClient::Format("POST", "/v1/embeddings",
                                   json{{"input", {"abc", "def"}}, {"pooling", "mean"}}.dump()));
    EXPECT_TRUE(Eventually([&] { return engine_->metrics().has_work.load(); }));
  }
  model_->Release();
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(Embeddings, BesideGeneration) {
  SayForever("abc");
  model_->step_us = 200;
  StartServer();
  WireClient stream(port());
  stream.Send(WireClient::Format("POST", "/v1/completions",
                                 R"({"prompt":"x","stream":true,"max_tokens":400})"));
  ASSERT_TRUE(stream.WaitFor("data: "));
  for (int i = 0; i < 20; ++i) {
    const std::string text(1 + static_cast<size_t>(i) * 17, static_cast<char>('a' + i));
    const WireResponse r = Embed({{"input", text}, {"pooling", i % 2 == 0 ? "mean" : "last"}});
    ExpectNear(r.json()["data"][0]["embedding"], Expected(Ids(text), i % 2 == 0));
  }
  EXPECT_TRUE(stream.WaitFor("[DONE]"));
  EXPECT_TRUE(BlocksComeBack());
}

TEST_F(Embeddings, AFailedStepIsAnError) {
  model_->fail_after = 0;
  StartServer();
  const WireResponse r = Embed({{"input", "abc"}});
  EXPECT_EQ(r.status, 500);
  ExpectErrorShape(r);
}

}  // namespace
}  // namespace slipstream::testing
