// Jinja2's tests: `x is name(arguments)`.
#include <fmt/core.h>

#include <string_view>
#include <unordered_map>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text.h"

namespace slipstream::jinja {
namespace {

using I = Interpreter;

const Value& Operand(CallArgs& args) {
  if (args.positional.size() != 1) Raise("the test takes one argument");
  return args.positional[0];
}

void NoArguments(const CallArgs& args) {
  if (!args.positional.empty() || !args.named.empty()) Raise("the test takes no argument");
}

int64_t Integer(const Value& value) {
  RequireDefined(value);
  if (!value.IsIntegral()) Raise("not all arguments converted during string formatting");
  return value.integer();
}

int64_t Remainder(const Value& value, int64_t by) {
  if (by == 0) Raise("integer division or modulo by zero");
  return by == -1 ? 0 : Integer(value) % by;
}

template <Kind kKind>
bool IsKind(I&, const Value& v, CallArgs& args) {
  NoArguments(args);
  return v.Is(kKind);
}

template <bool (*kAccepts)(int)>
bool Ordered(I&, const Value& v, CallArgs& args) {
  return kAccepts(Compare(v, Operand(args), "<"));
}
bool Less(int order) { return order == -1; }
bool LessEqual(int order) { return order == -1 || order == 0; }
bool Greater(int order) { return order == 1; }
bool GreaterEqual(int order) { return order == 0 || order == 1; }

bool HasCase(const Value& value, bool upper) {
  const std::string text = ToStr(value);
  bool cased = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextChar(text, pos);
    if (upper ? IsLowerChar(c) : IsUpperChar(c)) return false;
    cased |= IsUpperChar(c) || IsLowerChar(c);
  }
  return cased;
}

bool Same(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  return a.kind() < Kind::kString ? Equal(a, b) : a.object() == b.object();
}

bool IsSequence(const Value& v) {
  return v.Is(Kind::kUndefined) || v.Is(Kind::kString) || v.IsListLike() || v.Is(Kind::kDict);
}

bool Equals(I&, const Value& v, CallArgs& args) { return Equal(v, Operand(args)); }
bool Differs(I&, const Value& v, CallArgs& args) { return !Equal(v, Operand(args)); }

const std::unordered_map<std::string_view, Test>& Table() {
  static const std::unordered_map<std::string_view, Test> table = {
      {"defined",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return !v.Is(Kind::kUndefined);
       }},
      {"undefined", IsKind<Kind::kUndefined>},
      {"none", IsKind<Kind::kNone>},
      {"boolean", IsKind<Kind::kBool>},
      {"string", IsKind<Kind::kString>},
      {"mapping", IsKind<Kind::kDict>},
      {"float", IsKind<Kind::kFloat>},
      {"number",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return v.IsNumber();
       }},
      {"integer",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return v.Is(Kind::kInt) || v.Is(Kind::kUint);
       }},
      {"true",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return v.Is(Kind::kBool) && v.boolean();
       }},
      {"false",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return v.Is(Kind::kBool) && !v.boolean();
       }},
      {"sequence",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return IsSequence(v);
       }},
      {"iterable",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return Iterable(v);
       }},
      {"callable", [](I&, const Value& v,
                      CallArgs&) { return v.Is(Kind::kUndefined) || v.kind() >= Kind::kMacro; }},
      {"sameas", [](I&, const Value& v, CallArgs& args) { return Same(v, Operand(args)); }},
      {"escaped",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return v.markup();
       }},
      {"in", [](I&, const Value& v, CallArgs& args) { return Contains(Operand(args), v); }},
      {"odd",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return Remainder(v, 2) != 0;
       }},
      {"even",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return Remainder(v, 2) == 0;
       }},
      {"divisibleby", [](I&, const Value& v,
                         CallArgs& args) { return Remainder(v, Integer(Operand(args))) == 0; }},
      {"upper",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return HasCase(v, true);
       }},
      {"lower",
       [](I&, const Value& v, CallArgs& args) {
         NoArguments(args);
         return HasCase(v, false);
       }},
      {"filter", [](I&, const Value& v,
                    CallArgs&) { return v.Is(Kind::kString) && FindFilter(v.str()) != nullptr; }},
      {"test", [](I&, const Value& v,
                  CallArgs&) { return v.Is(Kind::kString) && FindTest(v.str()) != nullptr; }},
      {"eq", Equals},
      {"equalto", Equals},
      {"==", Equals},
      {"ne", Differs},
      {"!=", Differs},
      {"lt", Ordered<Less>},
      {"lessthan", Ordered<Less>},
      {"<", Ordered<Less>},
      {"le", Ordered<LessEqual>},
      {"<=", Ordered<LessEqual>},
      {"gt", Ordered<Greater>},
      {"greaterthan", Ordered<Greater>},
      {">", Ordered<Greater>},
      {"ge", Ordered<GreaterEqual>},
      {">=", Ordered<GreaterEqual>},
  };
  return table;
}

}  // namespace

Test FindTest(const std::string& name) {
  const auto it = Table().find(name);
  return it == Table().end() ? nullptr : it->second;
}

}  // namespace slipstream::jinja
