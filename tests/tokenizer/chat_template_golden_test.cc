// The 70 real templates of the llama.cpp distribution, each rendered for every conversation of
// chat_template_fixtures/cases.json, against what Python's Jinja2 renders
// (scripts/make_template_fixtures.py wrote expected.jsonl).
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tokenizer/chat_template.h"

namespace slipstream {
namespace {

using Json = nlohmann::ordered_json;

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string Fnv1a(const std::string& text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001B3;
  return fmt::format("{:016x}", hash);
}

ChatTemplate::Input InputOf(const Json& conversation, int64_t now) {
  ChatTemplate::Input input;
  input.messages = conversation["messages"];
  if (conversation.contains("tools")) input.tools = conversation["tools"];
  if (conversation.contains("extra")) input.extra = conversation["extra"];
  input.add_generation_prompt = conversation.value("add_generation_prompt", true);
  input.now = now;
  return input;
}

void ExpectSame(const Result<std::string>& rendered, const Json& expected) {
  if (expected.is_object()) {  // Jinja2 raised an error
    ASSERT_FALSE(rendered.has_value()) << "should fail: " << expected["error"];
    if (expected["raised"].get<bool>()) {
      EXPECT_EQ(rendered.error().message, expected["error"].get<std::string>());
    }
    return;
  }
  ASSERT_TRUE(rendered.has_value()) << rendered.error().message;
  if (expected.size() > 2) {
    EXPECT_EQ(*rendered, expected[2].get<std::string>());
  }
  EXPECT_EQ(rendered->size(), expected[0].get<size_t>());
  EXPECT_EQ(Fnv1a(*rendered), expected[1].get<std::string>()) << *rendered;
}

TEST(ChatTemplateGolden, RealTemplatesRenderAsJinja2RendersThem) {
  setenv("TZ", "UTC", 1);
  const std::string fixtures =
      FromEnvironment("SLIPSTREAM_SOURCE_DIR") + "/tests/tokenizer/chat_template_fixtures/";
  const std::string templates = FromEnvironment("SLIPSTREAM_CHAT_TEMPLATES");
  ASSERT_FALSE(templates.empty()) << "SLIPSTREAM_CHAT_TEMPLATES names the folder of templates";
  const Json cases = Json::parse(ReadFile(fixtures + "cases.json"));
  std::istringstream expected(ReadFile(fixtures + "expected.jsonl"));
  int compared = 0;
  int rendered_texts = 0;
  for (std::string line; std::getline(expected, line);) {
    const Json entry = Json::parse(line);
    const std::string name = entry["template"];
    auto parsed = ChatTemplate::Parse(ReadFile(templates + "/" + name), cases["bos"], cases["eos"]);
    ASSERT_TRUE(parsed.has_value()) << name << ": " << parsed.error().message;
    EXPECT_EQ((*parsed)->takes_parts(), entry["parts"].get<bool>()) << name;
    for (const Json& conversation : cases["cases"]) {
      const std::string label = conversation["name"];
      SCOPED_TRACE(name + ", conversation " + label);
      const Json& result = entry["results"][label];
      ExpectSame((*parsed)->Render(InputOf(conversation, cases["now"])), result);
      ++compared;
      rendered_texts += result.is_array() ? 1 : 0;
    }
  }
  EXPECT_EQ(compared, 70 * 19);
  EXPECT_GT(rendered_texts, 1000);
}

}  // namespace
}  // namespace slipstream
