// The template language piece by piece: each snippet of chat_template_fixtures/language.jsonl
// renders as Python's Jinja2 renders it, or fails where Jinja2 fails.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tokenizer/chat_template.h"

namespace slipstream {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> RenderSnippet(const std::string& source, const Json& head) {
  SLIP_ASSIGN_OR_RETURN(auto parsed, ChatTemplate::Parse(source, "", ""));
  ChatTemplate::Input input;
  input.extra = head["variables"];
  input.now = head["now"].get<int64_t>();
  return parsed->Render(input);
}

TEST(ChatTemplateLanguage, SnippetsRenderAsJinja2RendersThem) {
  setenv("TZ", "UTC", 1);
  const char* root = std::getenv("SLIPSTREAM_SOURCE_DIR");
  ASSERT_NE(root, nullptr);
  std::ifstream file(std::string(root) + "/tests/tokenizer/chat_template_fixtures/language.jsonl");
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const Json head = Json::parse(line);
  int snippets = 0;
  while (std::getline(file, line)) {
    const Json entry = Json::parse(line);
    const std::string source = entry["source"];
    const Result<std::string> rendered = RenderSnippet(source, head);
    ++snippets;
    if (entry.contains("text")) {
      ASSERT_TRUE(rendered.has_value()) << source << ": " << rendered.error().message;
      EXPECT_EQ(*rendered, entry["text"].get<std::string>()) << source;
    } else {
      EXPECT_FALSE(rendered.has_value()) << source << " should fail: " << entry["error"];
    }
  }
  EXPECT_GT(snippets, 140);
}

}  // namespace
}  // namespace slipstream
