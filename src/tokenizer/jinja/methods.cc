// Methods of str, list and dict that templates call, as Python's sandboxed objects have them.
#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text.h"

namespace slipstream::jinja {
namespace {

using I = Interpreter;
using MethodTable = std::unordered_map<std::string_view, Method>;

const std::string& StrArgument(const Value& value) {
  RequireDefined(value);
  if (!value.Is(Kind::kString)) {
    Raise(fmt::format("expected str as argument, not {}", TypeName(value)));
  }
  return value.str();
}

Value Same(const Value& self, std::string_view text) {
  return Value::Str(std::string(text), self.markup());
}

template <bool kLeft, bool kRight>
Value StripMethod(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "strip", {"chars"});
  std::string_view text = self.str();
  if (reader.Has(0) && !reader.Require(0).Is(Kind::kNone)) {
    return Same(self, StripChars(text, StrArgument(reader.Require(0)), kLeft, kRight));
  }
  if (kLeft) text = StripLeft(text);
  if (kRight) text = StripRight(text);
  return Same(self, text);
}

std::vector<std::string_view> SplitBlanks(I& in, std::string_view text, int64_t limit,
                                          bool from_right) {
  std::vector<std::string_view> parts;
  text = from_right ? StripRight(text) : StripLeft(text);
  while (!text.empty()) {
    if (limit-- == 0) {
      parts.push_back(from_right ? StripRight(text) : text);
      break;
    }
    // The piece at this end: up to the nearest blank, which from the right is found from the left.
    if (from_right) in.budget().Step(static_cast<int64_t>(text.size()) / 16);
    size_t begin = 0;
    size_t end = text.size();
    for (size_t pos = 0; pos < text.size();) {
      const size_t at = pos;
      if (!IsSpace(NextChar(text, pos))) continue;
      if (!from_right) {
        end = at;
        break;
      }
      begin = pos;
    }
    parts.push_back(text.substr(begin, end - begin));
    text = from_right ? StripRight(text.substr(0, begin)) : StripLeft(text.substr(end));
  }
  return parts;
}

std::vector<std::string_view> SplitBy(std::string_view text, std::string_view separator,
                                      int64_t limit, bool from_right) {
  if (separator.empty()) Raise("empty separator");
  std::vector<std::string_view> parts;
  while (limit-- != 0) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    const std::string_view rest = text.substr(at + separator.size());
    parts.push_back(from_right ? rest : text.substr(0, at));
    text = from_right ? text.substr(0, at) : rest;
  }
  parts.push_back(text);
  return parts;
}

template <bool kRight>
Value Split(I& in, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "split", {"sep", "maxsplit"});
  const int64_t limit = reader.Int(1, -1);
  const bool blanks = !reader.Has(0) || reader.Require(0).Is(Kind::kNone);
  in.budget().Step(1 + static_cast<int64_t>(self.str().size()) / 16);
  std::vector<std::string_view> parts =
      blanks ? SplitBlanks(in, self.str(), limit, kRight)
             : SplitBy(self.str(), StrArgument(reader.Require(0)), limit, kRight);
  if (kRight) std::reverse(parts.begin(), parts.end());
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(Same(self, part));
  return Value::List(std::move(items));
}

template <bool kRight>
Value Partition(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "partition", {"sep"});
  const std::string& separator = StrArgument(reader.Require(0));
  if (separator.empty()) Raise("empty separator");
  const std::string& text = self.str();
  const size_t at = kRight ? text.rfind(separator) : text.find(separator);
  std::vector<Value> parts(3, Same(self, ""));
  if (at == std::string::npos) {
    parts[kRight ? 2 : 0] = self;
  } else {
    parts[0] = Same(self, text.substr(0, at));
    parts[1] = Same(self, separator);
    parts[2] = Same(self, text.substr(at + separator.size()));
  }
  return Value::List(std::move(parts), Kind::kTuple);
}

Value SplitLinesMethod(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "splitlines", {"keepends"});
  std::vector<Value> items;
  for (const std::string_view line : SplitLines(self.str(), reader.Bool(0, false))) {
    items.push_back(Same(self, line));
  }
  return Value::List(std::move(items));
}

template <bool kEnd>
Value StartsWith(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, kEnd ? "endswith" : "startswith", {"prefix", "start", "end"});
  std::string_view text = self.str();
  if (reader.Has(1) || reader.Has(2)) {
    const int64_t length = CharCount(text);
    const auto offset = [&](size_t i, int64_t fallback) {
      const int64_t at = reader.Int(i, fallback);
      return std::clamp<int64_t>(at < 0 ? at + length : at, 0, length);
    };
    const int64_t start = offset(1, 0);
    const int64_t end = std::max(start, offset(2, length));
    const size_t begin = ByteOffset(text, start);
    text = text.substr(begin, ByteOffset(text, end) - begin);
  }
  const auto matches = [&](const Value& affix) {
    const std::string& a = StrArgument(affix);
    return kEnd ? text.ends_with(a) : text.starts_with(a);
  };
  const Value& affix = reader.Require(0);
  if (!affix.Is(Kind::kTuple)) return Value::Bool(matches(affix));
  return Value::Bool(std::any_of(affix.items().begin(), affix.items().end(), matches));
}

template <bool kRight, bool kMustFind>
Value FindText(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "find", {"sub", "start"});
  const std::string& text = self.str();
  const std::string& sub = StrArgument(reader.Require(0));
  const int64_t start = reader.Int(1, 0);
  const size_t from =
      ByteOffset(text, start < 0 ? std::max<int64_t>(start + CharCount(text), 0) : start);
  size_t at = kRight ? text.rfind(sub) : text.find(sub, from);
  if (kRight && at != std::string::npos && at < from) at = std::string::npos;
  if (at == std::string::npos) {
    if (kMustFind) Raise("substring not found");
    return Value::Int(-1);
  }
  return Value::Int(CharCount(std::string_view(text).substr(0, at)));
}

Value CountText(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "count", {"sub"});
  const std::string& sub = StrArgument(reader.Require(0));
  if (sub.empty()) return Value::Int(CharCount(self.str()) + 1);
  int64_t count = 0;
  for (size_t at = self.str().find(sub); at != std::string::npos;
       at = self.str().find(sub, at + sub.size())) {
    ++count;
  }
  return Value::Int(count);
}

Value ReplaceText(I& in, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "replace", {"old", "new", "count"});
  const std::string& from = StrArgument(reader.Require(0));
  std::string to = StrArgument(reader.Require(1));
  if (self.markup() && !reader.Require(1).markup()) to = Escape(to);
  int64_t limit = reader.Int(2, -1);
  const std::string& text = self.str();
  in.budget().Step(1 + static_cast<int64_t>(text.size()) / 16);
  std::string out;
  size_t pos = 0;
  while (limit-- != 0) {
    const size_t at = text.find(from, pos);
    if (at == std::string::npos) break;
    out.append(text, pos, at - pos);
    out += to;
    in.budget().Step(1 + static_cast<int64_t>(to.size()) / 16);
    pos = at + from.size();
    if (!from.empty()) continue;
    if (pos >= text.size()) return Same(self, out);
    const size_t start = pos;
    NextChar(text, pos);
    out.append(text, start, pos - start);
  }
  out.append(text, pos);
  return Same(self, out);
}

Value JoinText(I& in, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "join", {"iterable"});
  std::string out;
  bool first = true;
  for (const Value& item : Iterate(reader.Require(0))) {
    if (!std::exchange(first, false)) out += self.str();
    out += self.markup() && !item.markup() ? Escape(StrArgument(item)) : StrArgument(item);
    in.budget().Step(1 + static_cast<int64_t>(self.str().size()) / 16);
  }
  return Same(self, out);
}

template <int kSide>  // -1: ljust, 0: center, 1: rjust
Value Justify(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "just", {"width", "fillchar"});
  const std::string fill = reader.Str(1, " ");
  if (CharCount(fill) != 1) Raise("The fill character must be exactly one character long");
  const int64_t width = reader.Int(0, 0);
  const int64_t missing = std::max<int64_t>(width - CharCount(self.str()), 0);
  const int64_t left = kSide < 0 ? 0 : kSide > 0 ? missing : missing / 2 + (missing & width & 1);
  const Value unit = Value::Str(fill);
  const Value before = BinaryOperation("*", unit, Value::Int(left));
  const Value after = BinaryOperation("*", unit, Value::Int(missing - left));
  return Same(self, before.str() + self.str() + after.str());
}

template <std::string (*kChange)(std::string_view)>
Value Change(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "method", {});
  return Same(self, kChange(self.str()));
}

Value ZeroFill(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "zfill", {"width"});
  const std::string& text = self.str();
  const int64_t missing = std::max<int64_t>(reader.Int(0, 0) - CharCount(text), 0);
  const Value zeros = BinaryOperation("*", Value::Str("0"), Value::Int(missing));
  const size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return Same(self, text.substr(0, sign) + zeros.str() + text.substr(sign));
}

// str.isdigit() and its kin: not empty, and all characters accepted.
template <bool (*kAccepts)(char32_t)>
Value All(I&, const Value& self, CallArgs&) {
  const std::string& text = self.str();
  bool all = !text.empty();
  for (size_t pos = 0; all && pos < text.size();) all = kAccepts(NextChar(text, pos));
  return Value::Bool(all);
}
bool AsciiDigit(char32_t c) { return c >= '0' && c <= '9'; }
bool AlphaOrDigit(char32_t c) { return AsciiDigit(c) || IsAlpha(c); }

Value CaseTest(I& in, const Value& self, const char* test) {
  CallArgs none;
  return Value::Bool(FindTest(test)(in, self, none));
}

template <bool kPrefix>
Value RemoveAffix(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "removeprefix", {"affix"});
  const std::string& affix = StrArgument(reader.Require(0));
  std::string_view text = self.str();
  if (kPrefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!kPrefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return Same(self, text);
}

const MethodTable& StrMethods() {
  static const MethodTable table = {
      {"strip", StripMethod<true, true>},
      {"lstrip", StripMethod<true, false>},
      {"rstrip", StripMethod<false, true>},
      {"split", Split<false>},
      {"rsplit", Split<true>},
      {"partition", Partition<false>},
      {"rpartition", Partition<true>},
      {"splitlines", SplitLinesMethod},
      {"startswith", StartsWith<false>},
      {"endswith", StartsWith<true>},
      {"find", FindText<false, false>},
      {"rfind", FindText<true, false>},
      {"index", FindText<false, true>},
      {"rindex", FindText<true, true>},
      {"count", CountText},
      {"replace", ReplaceText},
      {"join", JoinText},
      {"ljust", Justify<-1>},
      {"center", Justify<0>},
      {"rjust", Justify<1>},
      {"upper", Change<ToUpper>},
      {"lower", Change<ToLower>},
      {"casefold", Change<ToLower>},
      {"title", Change<Title>},
      {"capitalize", Change<Capitalize>},
      {"swapcase", Change<SwapCase>},
      {"zfill", ZeroFill},
      {"isdigit", All<AsciiDigit>},
      {"isnumeric", All<AsciiDigit>},
      {"isdecimal", All<AsciiDigit>},
      {"isalpha", All<IsAlpha>},
      {"isalnum", All<AlphaOrDigit>},
      {"isspace", All<IsSpace>},
      {"isupper", [](I& in, const Value& v, CallArgs&) { return CaseTest(in, v, "upper"); }},
      {"islower", [](I& in, const Value& v, CallArgs&) { return CaseTest(in, v, "lower"); }},
      {"removeprefix", RemoveAffix<true>},
      {"removesuffix", RemoveAffix<false>},
      {"format", [](I& in, const Value& v, CallArgs& args) { return FormatBraces(in, v, args); }},
  };
  return table;
}

Value DictGet(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "get", {"key", "default"});
  const Value* found = self.dict().Find(reader.Require(0));
  return found != nullptr ? *found : reader.Has(1) ? reader.Require(1) : Value();
}

template <bool kKeys, bool kValues>
Value DictView(I& in, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "items", {});
  std::vector<Value> items;
  items.reserve(self.dict().items.size());
  for (const auto& [key, value] : self.dict().items) {
    items.push_back(kKeys && kValues ? Value::Tuple(key, value) : kKeys ? key : value);
  }
  in.budget().Step(static_cast<int64_t>(items.size()));
  Value view = Value::List(std::move(items), Kind::kView);
  if (!kKeys || !kValues) view.list_object().type_name = kKeys ? "dict_keys" : "dict_values";
  return view;
}

const MethodTable& DictMethods() {
  static const MethodTable table = {
      {"get", DictGet},
      {"items", DictView<true, true>},
      {"keys", DictView<true, false>},
      {"values", DictView<false, true>},
      {"copy", [](I&, const Value& self, CallArgs&) { return Value(self); }},
  };
  return table;
}

Value ListIndex(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "index", {"value"});
  for (size_t i = 0; i < self.items().size(); ++i) {
    if (Equal(self.items()[i], reader.Require(0))) return Value::Int(static_cast<int64_t>(i));
  }
  Raise(fmt::format("{} is not in {}", Repr(reader.Require(0)), TypeName(self)));
}

Value ListCount(I&, const Value& self, CallArgs& args) {
  const ArgReader reader(args, "count", {"value"});
  return Value::Int(std::count_if(self.items().begin(), self.items().end(),
                                  [&](const Value& v) { return Equal(v, reader.Require(0)); }));
}

const MethodTable& ListMethods() {
  static const MethodTable table = {
      {"index", ListIndex},
      {"count", ListCount},
      {"copy", [](I&, const Value& self, CallArgs&) { return Value(self); }},
  };
  return table;
}

}  // namespace

Method FindMethod(const Value& object, const std::string& name) {
  const MethodTable* table = object.Is(Kind::kString) ? &StrMethods()
                             : object.Is(Kind::kDict) ? &DictMethods()
                             : object.IsListLike()    ? &ListMethods()
                                                      : nullptr;
  if (table == nullptr) return nullptr;
  const auto it = table->find(name);
  if (it == table->end() ||
      (name == "copy" && !object.Is(Kind::kDict) && !object.Is(Kind::kList))) {
    return nullptr;
  }
  return it->second;
}

bool IsForbiddenMethod(const Value& object, const std::string& name) {
  static const std::unordered_set<std::string_view> list = {"append", "clear",  "extend",  "insert",
                                                            "pop",    "remove", "reverse", "sort"};
  static const std::unordered_set<std::string_view> dict = {"clear", "pop", "popitem", "setdefault",
                                                            "update"};
  return (object.Is(Kind::kList) && list.contains(name)) ||
         (object.Is(Kind::kDict) && dict.contains(name));
}

}  // namespace slipstream::jinja
