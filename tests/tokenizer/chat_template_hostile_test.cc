// Templates and inputs that try to crash, hang or fill the memory end in an error; random damage
// to templates never does worse.
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tokenizer/chat_template.h"

namespace slipstream {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDamagedTemplates = 4000;

std::string Repeat(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

// The error of parsing or rendering, or "" if it went well.
std::string ErrorOf(const std::string& source, const Json& messages = Json::array()) {
  auto parsed = ChatTemplate::Parse(source, "", "");
  if (!parsed) return parsed.error().message;
  ChatTemplate::Input input;
  input.messages = messages;
  const auto rendered = (*parsed)->Render(input);
  return rendered ? "" : rendered.error().message;
}

class Hostile : public testing::TestWithParam<std::pair<const char*, std::string>> {};

TEST_P(Hostile, EndsInAnError) { EXPECT_NE(ErrorOf(GetParam().second), "") << GetParam().first; }

const std::string kGrow = "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}";
const std::string kLong = "{% set l = 'a' * 4000000 %}{% for i in range(99999) %}";
const std::string kEnd = "{% endfor %}";
const std::string kLoops =
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}";

INSTANTIATE_TEST_SUITE_P(
    Parsing, Hostile,
    testing::Values(std::pair("parentheses",
                              "{{ " + Repeat("(", 100000) + Repeat(")", 100000) + " }}"),
                    std::pair("brackets", "{{ " + Repeat("[", 100000)),
                    std::pair("braces", "{{ " + Repeat("{1:", 100000)),
                    std::pair("not", "{{ " + Repeat("not ", 100000) + "1 }}"),
                    std::pair("minus", "{{ " + Repeat("-", 100000) + "1 }}"),
                    std::pair("sum", "{{ 1" + Repeat(" + 1", 100000) + " }}"),
                    std::pair("filters", "{{ 1" + Repeat(" | string", 100000) + " }}"),
                    std::pair("attributes", "{{ a" + Repeat(".b", 100000) + " }}"),
                    std::pair("calls", "{{ a" + Repeat("()", 100000) + " }}"),
                    std::pair("conditionals", "{{ " + Repeat("1 if 1 else ", 100000) + "1 }}"),
                    std::pair("ifs", Repeat("{% if 1 %}", 100000)),
                    std::pair("fors", Repeat("{% for x in y %}", 100000)),
                    std::pair("targets", "{% set " + Repeat("(", 100000) + "x" + " %}"),
                    std::pair("filter arguments", "{{ " + Repeat("x | d(", 100000))));

INSTANTIATE_TEST_SUITE_P(
    Running, Hostile,
    testing::Values(
        std::pair("range", "{% for i in range(10**9) %}{% endfor %}"),
        std::pair("loops", kLoops + "{% endfor %}{% endfor %}{% endfor %}"),
        std::pair("endless text", kLoops + "xxxxxxxx{% endfor %}{% endfor %}{% endfor %}"),
        std::pair("multiply", "{{ 'x' * 10**12 }}"),
        std::pair("multiply list", "{{ [1] * 10**12 }}"),
        std::pair("multiply overflow", "{{ 'xx' * (2**62) }}"),
        std::pair("multiply list often",
                  "{% for i in range(9999) %}{{ ([1] * 9999) | length }}{% endfor %}"),
        std::pair("power", "{{ 9 ** 9 ** 9 }}"),
        std::pair("grow", kGrow + "{% set ns.x = ns.x + ns.x %}{% endfor %}"),
        std::pair("grow by ~", kGrow + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}"),
        std::pair(
            "grow list",
            "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x "
            "%}{% endfor %}"),
        std::pair("nest",
                  "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}"
                  "{% set ns.x = [ns.x] %}{% endfor %}"),
        std::pair("nest loops",
                  "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% for y in [ns.x] %}"
                  "{% set ns.x = [loop] %}{% endfor %}{% endfor %}"),
        std::pair("shared printing",
                  "{% set ns = namespace(x='abcdefgh') %}{% for i in range(60) %}"
                  "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}"),
        std::pair("shared json",
                  "{% set ns = namespace(x='abcdefgh') %}{% for i in range(60) %}"
                  "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}"),
        std::pair("shared equality",
                  "{% set ns = namespace(x=1, y=1) %}{% for i in range(60) %}"
                  "{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}"
                  "{% endfor %}{{ ns.x == ns.y }}"),
        std::pair("self", "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}"),
        std::pair("recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        std::pair("fork", "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}"),
        std::pair("caller",
                  "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}"
                  "{{ f() }}"),
        std::pair("recursive loop", "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}"),
        std::pair("width", "{{ '%999999999d' % 1 }}"),
        std::pair("format width", "{{ '{:999999999}'.format(1) }}"),
        std::pair("justify", "{{ 'x'.ljust(10**12) }}"),
        std::pair("center", "{{ 'x' | center(10**12) }}"),
        std::pair("indent", "{{ 'x' | indent(10**12) }}"),
        std::pair("batch", "{{ [1] | batch(10**12, 0) | list }}"),
        std::pair("replace", kGrow + "{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}"),
        std::pair("join", "{{ ('x' * 9999).join(range(99999) | map('string')) }}"),
        std::pair("equal texts", kLong + "{% set m = 'a' * 4000000 %}{% set x = l == m %}" + kEnd),
        std::pair("strip",
                  "{% set m = ' ' * 4000000 %}" + kLong + "{% set x = m.strip() %}" + kEnd),
        std::pair("count", kLong + "{% set x = l.count('aa') %}" + kEnd),
        std::pair("starts", kLong + "{% set x = l.startswith(l) %}" + kEnd),
        std::pair("bound method",
                  "{% set f = ('a' * 4000000).count %}" + kLong + "{% set x = f('aa') %}" + kEnd),
        std::pair("blanks from the right", "{{ ('a ' * 2000000).rsplit() }}"),
        std::pair("find", "{{ ('a' * 4000000).find('a' * 2000000 ~ 'b') }}"),
        std::pair("in", "{{ 'a' * 2000000 ~ 'b' in 'a' * 4000000 }}"),
        std::pair("macros",
                  "{% for i in range(99999) %}{% for j in range(999) %}{% macro m() %}"
                  "{% endmacro %}{% endfor %}{% endfor %}")));

TEST(HostileInput, DeepMessagesAreAnError) {
  Json deep = Json::array();
  for (int i = 0; i < 1000; ++i) {
    Json outer = Json::array();
    outer.push_back(std::move(deep));
    deep = std::move(outer);
  }
  const Json messages = Json::array({{{"role", "user"}, {"x", std::move(deep)}}});
  EXPECT_NE(ErrorOf("{{ messages }}", messages), "");
}

TEST(HostileInput, ManyArgumentsAndElifsAreFine) {
  EXPECT_EQ(ErrorOf("{% if 0 %}" + Repeat("{% elif 0 %}", 5000) + "{% endif %}"), "");
  EXPECT_EQ(ErrorOf("{{ [" + Repeat("1,", 5000) + "] | length }}"), "");
}

// Real conversations are far inside the bounds: 1000 messages of 2 KB.
TEST(HostileInput, LongConversationsRender) {
  Json messages = Json::array();
  for (int i = 0; i < 1000; ++i) {
    messages.push_back(
        {{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", Repeat("word ", 400)}});
  }
  EXPECT_EQ(ErrorOf(DefaultChatTemplate(), messages), "");
  EXPECT_EQ(ErrorOf("{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + "
                    "m.content.split('x')[-1].strip() %}{% endfor %}{{ ns.t | length }}",
                    messages),
            "");
}

TEST(HostileInput, LongRepeatsAreRight) {
  auto parsed = ChatTemplate::Parse(
      "{% set x = 'abc' * 9999999 %}{{ x | length }}{{ x[:4] }}{{ x[-4:] }}{{ x[12345678] }}"
      "{{ 'ab' * 3 }}{{ '' * 7 }}{{ 'y' * -1 }}{{ 0 * 'z' }}{{ ([1] * 3) }}",
      "", "");
  ASSERT_TRUE(parsed);
  const auto text = (*parsed)->Render({});
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text, "29999997abcacabcaababab[1, 1, 1]");
}

// Random edits of a template that uses most of the language: any result but a crash is right.
TEST(HostileInput, DamagedTemplatesNeverCrash) {
  const std::string seed =
      "{%- set ns = namespace(a=1, t='') -%}{% macro show(v, d=2) %}{{ v | string | trim }}{{ d }}"
      "{{ varargs }}{{ caller() if caller else '-' }}{% endmacro %}{% for m in messages if m.role "
      "!= 'x' recursive %}{{ loop.index "
      "}}"
      "{% set ns.t = ns.t ~ m['content'][1:-1] %}{{ show(m.role, d=m.content | length) }}"
      "{% if loop.last and m.content is string %}{{ m | tojson(indent=2) | indent(2) }}"
      "{% elif not m.n is defined %}{{ '%s' % m.role }}{{ '{:>4}'.format(3) }}{% else %}{% break %}"
      "{% endif %}{% endfor %}{% call show(1) %}x{% endcall %}{{ messages | map(attribute='role') "
      "| "
      "join(',') }}{{ [1, 2.5, none, {'a': (1,)}] }}{% raw %}{{ }}{% endraw %}{# c #}"
      "{{ range(3) | select('odd') | list }}{{ 'a b'.split()[0] if ns.a > 0 else -ns.a ** 2 }}";
  const Json messages = Json::array(
      {{{"role", "user"}, {"content", "héllo <b>"}}, {{"role", "tool"}, {"content", "x\ny"}}});
  ASSERT_EQ(ErrorOf(seed, messages), "");
  std::mt19937 random(7);
  const auto pick = [&](size_t n) { return static_cast<size_t>(random() % n); };
  int rendered = 0;
  for (int round = 0; round < kDamagedTemplates; ++round) {
    std::string source = seed;
    for (size_t edits = 1 + pick(3); edits > 0; --edits) {
      const size_t at = pick(source.size());
      const size_t from = pick(source.size());
      const size_t size = 1 + pick(12);
      switch (pick(4)) {
        case 0:
          source.erase(at, size);
          break;
        case 1:
          source.insert(at, source.substr(from, size));
          break;
        case 2:
          source.replace(at, std::min(size, source.size() - at), source.substr(from, size));
          break;
        default:
          source[at] = static_cast<char>(random() % 256);
      }
    }
    rendered += ErrorOf(source, messages).empty() ? 1 : 0;
  }
  EXPECT_GT(rendered, 50);  // the damage must leave some templates alive to be worth anything
}

}  // namespace
}  // namespace slipstream
