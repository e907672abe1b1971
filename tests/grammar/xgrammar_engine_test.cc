// The library behind xgrammar_engine.h with a small vocabulary: what its constraints allow, where
// they end, what it says of bad sources.
#include "grammar/xgrammar_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/grammar/byte_tokenizer.h"

namespace slipstream {
namespace {

using testing::ByteTokenizer;
using ::testing::HasSubstr;

class XGrammarTest : public ::testing::Test {
 protected:
  static constexpr int kPadding = 21;  // the model's vocabulary is larger than the tokenizer's

  XGrammarTest() : vocab_size_(tokenizer_.vocab_size() + kPadding) {
    engine_ = std::move(*MakeXGrammarEngine(tokenizer_, vocab_size_));
  }

  std::shared_ptr<const TokenConstraint> Make(GrammarKind kind, const std::string& text,
                                              bool strict = true) {
    auto made = engine_->Compile({kind, text, strict, "field"}, kNeverStop);
    EXPECT_TRUE(made) << made.error().message;
    if (!made) return nullptr;
    EXPECT_GT(made->bytes, 0u);
    return made->constraint;
  }
  std::string WhyNot(GrammarKind kind, const std::string& text) {
    auto made = engine_->Compile({kind, text, true, "field"}, kNeverStop);
    if (made) return "";
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(made.error().param, "field");
    EXPECT_LT(made.error().message.size(), 400u);
    EXPECT_EQ(made.error().message.find('\n'), std::string::npos);
    return made.error().message;
  }

  std::vector<uint32_t> Mask(TokenConstraintState& state) {
    std::vector<uint32_t> mask(TokenMaskWords(vocab_size_), 0xDEADBEEF);
    EXPECT_TRUE(state.FillMask(mask));
    return mask;
  }
  // Whether the constraint takes the text byte by byte, and may end there.
  bool Takes(const TokenConstraint& constraint, const std::string& text) {
    const std::vector<int32_t> stops = {tokenizer_.end()};
    auto state = std::move(*constraint.Start(stops));
    for (const char c : text) {
      const int32_t token = static_cast<unsigned char>(c);
      if (!TokenAllowed(Mask(*state), token)) {
        EXPECT_FALSE(state->Advance(token));
        return false;
      }
      EXPECT_TRUE(state->Advance(token));
    }
    return TokenAllowed(Mask(*state), tokenizer_.end());
  }

  ByteTokenizer tokenizer_;
  const int64_t vocab_size_;
  std::shared_ptr<const XGrammarEngine> engine_;
};

TEST_F(XGrammarTest, SchemasTakeWhatFitsAndNothingElse) {
  const auto schema = Make(GrammarKind::kJsonSchema, R"({"type":"object","properties":{
      "name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":120}},
      "required":["name","age"]})");
  EXPECT_TRUE(Takes(*schema, R"({"name": "Eva", "age": 7})"));
  EXPECT_TRUE(Takes(*schema, "{\n  \"name\": \"\xC3\xA9\\n\",\n  \"age\": 120\n}"));
  EXPECT_FALSE(Takes(*schema, R"({"name": "Eva"})"));
  EXPECT_FALSE(Takes(*schema, R"({"name": "Eva", "age": 121})"));
  EXPECT_FALSE(Takes(*schema, R"({"name": "Eva", "age": 7, "more": 1})"));
  EXPECT_FALSE(Takes(*schema, R"({"name": "Eva", "age": 7)"));
  EXPECT_FALSE(Takes(*schema, "{\"name\": \"\xFF\", \"age\": 7}"));
  EXPECT_FALSE(Takes(*schema, "Sure! {"));
}

TEST_F(XGrammarTest, StringsOfSchemasAreJsonWhateverBoundsThem) {
  for (const char* bound : {R"("minLength":1)", R"("maxLength":9)", R"("minLength":0)",
                            R"("pattern":"^.+$")", R"("pattern":"^[^a]+$")"}) {
    const auto schema =
        Make(GrammarKind::kJsonSchema, std::string(R"({"type":"string",)") + bound + "}");
    EXPECT_TRUE(Takes(*schema, R"("b c")")) << bound;
    EXPECT_TRUE(Takes(*schema, "\"\xE2\x82\xAC\x7F\"")) << bound;
    for (const char bad : {'\0', '\t', '\n', '\r', '\x1F', '"', '\\'}) {
      EXPECT_FALSE(Takes(*schema, std::string("\"b") + bad + "c\"")) << bound << int{bad};
    }
  }
}

TEST_F(XGrammarTest, JsonObjectsAreAnyObjectAndOnlyThat) {
  const auto any = Make(GrammarKind::kJsonObject, "");
  EXPECT_TRUE(Takes(*any, R"({"a": [1, 2.5e3, null, {"b": "c"}], "d": false})"));
  EXPECT_TRUE(Takes(*any, "{}"));
  EXPECT_FALSE(Takes(*any, "[1]"));
  EXPECT_FALSE(Takes(*any, "{'a': 1}"));
  EXPECT_FALSE(Takes(*any, "{" + std::string(500, ' ') + "}")) << "blanks must have an end";
}

TEST_F(XGrammarTest, RegexChoiceAndGrammar) {
  const auto regex = Make(GrammarKind::kRegex, R"(\d{3}-[a-f]+)");
  EXPECT_TRUE(Takes(*regex, "007-beef"));
  EXPECT_FALSE(Takes(*regex, "07-beef"));
  const auto choice =
      Make(GrammarKind::kChoice, R"(["yes", "no", "a \"b\" \\ \n c", "\u00e9t\u00e9"])");
  EXPECT_TRUE(Takes(*choice, "yes"));
  EXPECT_TRUE(Takes(*choice, "a \"b\" \\ \n c"));
  EXPECT_TRUE(Takes(*choice, "\xC3\xA9t\xC3\xA9"));
  EXPECT_FALSE(Takes(*choice, "ye"));
  EXPECT_FALSE(Takes(*choice, "yes no"));
  const auto ebnf = Make(GrammarKind::kEbnf,
                         "root ::= item (\", \" item)*\nitem ::= [a-z]+ | num\n"
                         "num ::= \"#\" [0-9]+\n");
  EXPECT_TRUE(Takes(*ebnf, "a, #12, b"));
  EXPECT_FALSE(Takes(*ebnf, "a,b"));
}

TEST_F(XGrammarTest, SpecialPaddingAndEmptyTokensAreNeverAllowedAsText) {
  auto state = std::move(*Make(GrammarKind::kRegex, "(.|\\n)*")->Start({}));
  const auto mask = Mask(*state);
  for (int32_t id = 0; id < static_cast<int32_t>(mask.size()) * 32; ++id) {
    const bool text = id < tokenizer_.vocab_size() && !tokenizer_.IsSpecial(id) &&
                      !tokenizer_.TokenBytes(id).empty();
    if (!text) {
      EXPECT_FALSE(TokenAllowed(mask, id)) << id;
    }
  }
  EXPECT_TRUE(TokenAllowed(mask, 'a'));
}

TEST_F(XGrammarTest, StopTokensAreAllowedAtTheEndOnly) {
  const auto choice = Make(GrammarKind::kChoice, R"(["yes"])");
  const int32_t think = *tokenizer_.FindToken("<think>"),
                im_end = *tokenizer_.FindToken("<|im_end|>");
  const int32_t yes = *tokenizer_.FindToken("yes");
  const std::vector<int32_t> stops = {think, 'y', 100000, -1};
  auto state = std::move(*choice->Start(stops));
  EXPECT_FALSE(TokenAllowed(Mask(*state), think));
  EXPECT_TRUE(TokenAllowed(Mask(*state), 'y')) << "a stop token with text is text as well";
  ASSERT_TRUE(state->Advance(yes));
  const auto mask = Mask(*state);
  EXPECT_TRUE(TokenAllowed(mask, think));
  EXPECT_FALSE(TokenAllowed(mask, im_end)) << "not a stop token of this sequence";
  EXPECT_FALSE(TokenAllowed(mask, tokenizer_.end()));
  // Without a stop token nothing is left to sample.
  auto other = std::move(*choice->Start({}));
  ASSERT_TRUE(other->Advance(yes));
  EXPECT_THAT(Mask(*other), ::testing::Each(0u));
}

TEST_F(XGrammarTest, StatesOfOneConstraintAreIndependent) {
  const auto choice = Make(GrammarKind::kChoice, R"(["ab", "cd"])");
  auto one = std::move(*choice->Start({})), two = std::move(*choice->Start({}));
  ASSERT_TRUE(one->Advance('a'));
  ASSERT_TRUE(two->Advance('c'));
  EXPECT_TRUE(TokenAllowed(Mask(*one), 'b'));
  EXPECT_TRUE(TokenAllowed(Mask(*two), 'd'));
  EXPECT_FALSE(TokenAllowed(Mask(*two), 'b'));
}

TEST_F(XGrammarTest, BadSourcesAreToldWithTheReason) {
  EXPECT_THAT(WhyNot(GrammarKind::kJsonSchema, "{\"type\":"), HasSubstr("field"));
  EXPECT_THAT(WhyNot(GrammarKind::kJsonSchema, R"({"type":"strung"})"), HasSubstr("strung"));
  EXPECT_THAT(WhyNot(GrammarKind::kJsonSchema, R"({"$ref":"#/$defs/none"})"), HasSubstr("field"));
  EXPECT_NE(WhyNot(GrammarKind::kRegex, "(a"), "");
  EXPECT_NE(WhyNot(GrammarKind::kRegex, "[z-a]"), "");
  EXPECT_NE(WhyNot(GrammarKind::kEbnf, "root ::= other"), "");
  EXPECT_NE(WhyNot(GrammarKind::kEbnf, "start ::= \"a\""), "");
  EXPECT_NE(WhyNot(GrammarKind::kChoice, "[]"), "");
  EXPECT_NE(WhyNot(GrammarKind::kChoice, "[\"\"]"), "");
  EXPECT_NE(WhyNot(GrammarKind::kChoice, "[1]"), "");
}

TEST_F(XGrammarTest, PartsOfSchemasThatWouldBePassedOverAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"not":{"type":"string"}})", "not"},
      {R"({"if":{"type":"string"},"then":{"type":"null"}})", "if"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"type":"object","properties":{"a":{"type":"array","contains":{}}}})", "contains"},
      {R"({"type":"number","multipleOf":0.5})", "multipleOf"},
      {R"({"type":"object","dependentRequired":{"a":["b"]}})", "dependentRequired"},
      {R"({"type":"object","dependencies":{"a":["b"]}})", "dependencies"},
      {R"({"type":"string","pattern":"^a+$","minLength":3})", "minLength"},
      {R"({"allOf":[{"type":"object"},{"type":"object"}]})", "allOf"},
      {R"({"$ref":"http://example.com/schema"})", "URI"},
      {R"({"type":"object","properties":{"a":{"type":"string"}},"anyOf":[{"type":"object"}]})",
       "properties beside anyOf"},
      {R"({"anyOf":[{"type":"null"}],"oneOf":[{"type":"string"}]})", "oneOf beside anyOf"},
      {R"({"type":"array","items":{"minLength":3}})", "minLength without a type"},
      {R"({"$defs":{"x":{"maximum":3}},"type":"object","properties":{"a":{"$ref":"#/$defs/x"}}})",
       "maximum without a type"},
  };
  for (const auto& [schema, what] : cases) {
    EXPECT_THAT(WhyNot(GrammarKind::kJsonSchema, schema), ::testing::ContainsRegex(what)) << schema;
  }
  EXPECT_NE(WhyNot(GrammarKind::kRegex, "("), "");
  // The warning of one source is not the next one's; and what bounds nothing is no fault.
  for (const char* schema :
       {R"({"type":"integer","multipleOf":5})", R"({"type":"string","enum":["a"],"minLength":1})",
        R"({"type":"object","properties":{"not":{"type":"string"},"uniqueItems":{"const":1}}})",
        R"({"$ref":"#/$defs/x","description":"d","default":1,"$defs":{"x":{"type":"integer"}}})",
        R"({"anyOf":[{"type":"integer","minimum":0},{"type":"null"}],"title":"t","x-more":1})",
        R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", R"({"type":"string","format":"x"})",
        R"({"default":{"minLength":3},"type":"object"})", R"({"type":"array","uniqueItems":false})",
        "{}", "true"}) {
    EXPECT_EQ(WhyNot(GrammarKind::kJsonSchema, schema), "") << schema;
  }
}

TEST(XGrammarVocabulary, MayHaveNoEndAtAll) {
  const ByteTokenizer tokenizer(/*with_end=*/false);
  auto engine = MakeXGrammarEngine(tokenizer, tokenizer.vocab_size());
  ASSERT_TRUE(engine);
  auto made = (*engine)->Compile({GrammarKind::kChoice, R"(["ok"])", true, "field"}, kNeverStop);
  ASSERT_TRUE(made);
  auto state = std::move(*made->constraint->Start({}));
  std::vector<uint32_t> mask(TokenMaskWords(tokenizer.vocab_size()));
  ASSERT_TRUE(state->FillMask(mask));
  EXPECT_TRUE(TokenAllowed(mask, 'o'));
  ASSERT_TRUE(state->Advance('o'));
  ASSERT_TRUE(state->Advance('k'));
  ASSERT_TRUE(state->FillMask(mask));
  EXPECT_THAT(mask, ::testing::Each(0u));
}

}  // namespace
}  // namespace slipstream
