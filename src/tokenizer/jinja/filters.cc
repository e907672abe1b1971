// Jinja2's filters of single values; filters_sequence.cc has those of lists. Not there: filters
// for web pages (urlize, xmlattr, striptags, ...) and random, which no chat template needs.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "tokenizer/jinja/filters_sequence.h"
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/json.h"
#include "tokenizer/jinja/text.h"

namespace slipstream::jinja {
namespace {

using I = Interpreter;

template <std::string (*kChange)(std::string_view)>
Value Change(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "filter", {});
  return Value::Str(kChange(ToStr(v)), v.markup());
}

// Jinja2's title starts a word after any of " -({[<".
std::string TitleWords(std::string_view text) {
  std::string out;
  size_t start = 0;
  for (size_t pos = 0; pos <= text.size(); ++pos) {
    const bool split = pos == text.size() ||
                       std::string_view("-({[<").find(text[pos]) != std::string_view::npos ||
                       IsSpace(static_cast<unsigned char>(text[pos]));
    if (!split) continue;
    out += Capitalize(text.substr(start, pos - start));
    if (pos < text.size()) out += text[pos];
    start = pos + 1;
  }
  return out;
}

Value Trim(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "trim", {"chars"});
  const std::string text = ToStr(v);
  if (!reader.Has(0) || reader.Require(0).Is(Kind::kNone)) {
    return Value::Str(std::string(Strip(text)), v.markup());
  }
  return Value::Str(std::string(StripChars(text, reader.Str(0, ""), true, true)), v.markup());
}

Value Replace(I& in, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "replace", {"old", "new", "count"});
  CallArgs plain;
  plain.positional = {Value::Str(ToStr(reader.Require(0))), Value::Str(ToStr(reader.Require(1))),
                      Value::Int(reader.Int(2, -1))};
  const Value text = Value::Str(ToStr(v));
  return FindMethod(text, "replace")(in, text, plain);
}

Value Default(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "default", {"default_value", "boolean"});
  const bool missing = v.Is(Kind::kUndefined) || (reader.Bool(1, false) && !Truth(v));
  if (!missing) return v;
  return reader.Has(0) ? reader.Require(0) : Value::Str("");
}

Value Indent(I& in, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "indent", {"width", "first", "blank"});
  RequireDefined(v);
  if (!v.Is(Kind::kString)) Raise("indent needs a string");
  std::string indention;
  if (reader.Has(0) && reader.Require(0).Is(Kind::kString)) {
    indention = reader.Require(0).str();
  } else {
    const int64_t width = reader.Int(0, 4);
    if (width > 100'000) Raise("indent is too wide");
    indention.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const std::string text = v.str() + "\n";
  const bool blank = reader.Bool(2, false);
  std::string out = reader.Bool(1, false) ? indention : "";
  bool first = true;
  for (const std::string_view line : SplitLines(text, false)) {
    if (!first) {
      out += '\n';
      if (blank || !line.empty()) out += indention;
      in.budget().Step(1 + static_cast<int64_t>(indention.size()) / 16);
    }
    first = false;
    out += line;
  }
  return Value::Str(std::move(out), v.markup());
}

std::optional<double> ParseDouble(std::string_view text) {
  text = Strip(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  std::string digits(text);
  std::erase(digits, '_');
  double number = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || parsed.ptr != digits.data() + digits.size()) return std::nullopt;
  return number;
}

std::optional<int64_t> ParseInt(std::string_view text, int base) {
  text = Strip(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  if (base == 16 && (text.starts_with("0x") || text.starts_with("0X"))) text.remove_prefix(2);
  int64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || parsed.ptr != text.data() + text.size() || parsed.ec != std::errc()) {
    return std::nullopt;
  }
  return number;
}

Value ToInt(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "int", {"default", "base"});
  RequireDefined(v);
  const Value fallback = reader.Has(0) ? reader.Require(0) : Value::Int(0);
  if (v.IsIntegral() || v.Is(Kind::kUint)) return v.Is(Kind::kBool) ? Value::Int(v.integer()) : v;
  std::optional<double> number;
  if (v.Is(Kind::kString)) {
    const int64_t base = reader.Int(1, 10);
    if (base < 2 || base > 36) Raise("int() base must be >= 2 and <= 36");
    if (const auto whole = ParseInt(v.str(), static_cast<int>(base))) return Value::Int(*whole);
    number = ParseDouble(v.str());
  } else if (v.Is(Kind::kFloat)) {
    number = v.AsDouble();
  }
  if (!number || !(std::fabs(*number) < 9.2e18)) return fallback;
  return Value::Int(static_cast<int64_t>(*number));
}

Value ToFloat(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "float", {"default"});
  RequireDefined(v);
  if (v.IsNumber()) return Value::Float(v.AsDouble());
  if (v.Is(Kind::kString)) {
    if (const auto number = ParseDouble(v.str())) return Value::Float(*number);
  }
  return reader.Has(0) ? reader.Require(0) : Value::Float(0);
}

Value Abs(I&, const Value& v, CallArgs&) {
  RequireDefined(v);
  if (!v.IsNumber()) Raise(fmt::format("bad operand type for abs(): '{}'", TypeName(v)));
  return (v.IsIntegral() ? v.integer() < 0 : v.AsDouble() < 0) ? Negate(v) : v;
}

Value Round(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "round", {"precision", "method"});
  RequireDefined(v);
  if (!v.IsNumber()) Raise(fmt::format("type {} doesn't define __round__", TypeName(v)));
  const std::string method = reader.Str(1, "common");
  const int64_t precision = std::clamp<int64_t>(reader.Int(0, 0), -300, 300);
  const double number = v.AsDouble();
  if (method != "common") {
    if (method != "ceil" && method != "floor") Raise("method must be common, ceil or floor");
    const double scale = std::pow(10.0, static_cast<double>(precision));
    return Value::Float(
        (method == "ceil" ? std::ceil(number * scale) : std::floor(number * scale)) / scale);
  }
  if (!v.Is(Kind::kFloat) && precision >= 0) return v;
  if (precision < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    const double rounded = std::nearbyint(number / scale) * scale;
    return v.Is(Kind::kFloat) ? Value::Float(rounded) : Value::Int(static_cast<int64_t>(rounded));
  }
  if (!std::isfinite(number) || precision > 17) return v;
  // Correctly rounded decimal digits, ties to even in binary: what Python's round does.
  return Value::Float(std::stod(fmt::format("{:.{}f}", number, precision)));
}

Value Escaped(I&, const Value& v, CallArgs&) {
  return v.markup() ? v : Value::Str(Escape(ToStr(v)), true);
}

Value ToJson(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = reader.Bool(0, false);
  style.sort_keys = reader.Bool(3, false);
  if (reader.Has(1) && !reader.Require(1).Is(Kind::kNone)) {
    style.indented = true;
    style.item_separator = ",";
    if (reader.Require(1).Is(Kind::kString)) {
      style.indent = reader.Require(1).str();
    } else {
      const int64_t width = std::clamp<int64_t>(reader.Int(1, 0), 0, 1000);
      style.indent.assign(static_cast<size_t>(width), ' ');
    }
  }
  if (reader.Has(2) && !reader.Require(2).Is(Kind::kNone)) {
    const std::vector<Value> separators = Iterate(reader.Require(2));
    if (separators.size() != 2) Raise("separators needs two strings");
    style.item_separator = ToStr(separators[0]);
    style.key_separator = ToStr(separators[1]);
  }
  return Value::Str(DumpJson(v, style));
}

Value Truncate(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "truncate", {"length", "killwords", "end", "leeway"});
  if (!v.Is(Kind::kString)) Raise(fmt::format("object of type '{}' has no len()", TypeName(v)));
  const std::string& text = v.str();
  const std::string end = reader.Str(2, "...");
  const int64_t keep = reader.Int(0, 255) - CharCount(end);
  if (keep < 0) Raise("truncate: length is shorter than the end marker");
  if (CharCount(text) <= reader.Int(0, 255) + reader.Int(3, 5)) return v;
  std::string cut = text.substr(0, ByteOffset(text, keep));
  if (!reader.Bool(1, false)) cut = cut.substr(0, cut.rfind(' '));
  return Value::Str(cut + end, v.markup());
}

Value Format(I&, const Value& v, CallArgs& args) {
  if (!args.named.empty() && !args.positional.empty()) {
    Raise("can't handle positional and keyword arguments at the same time");
  }
  const Value text = v.Is(Kind::kString) ? v : Value::Str(ToStr(v));
  if (args.named.empty()) {
    return FormatPercent(text, Value::List(std::move(args.positional), Kind::kTuple));
  }
  std::vector<std::pair<Value, Value>> items;
  for (auto& [name, value] : args.named) items.emplace_back(Value::Str(name), std::move(value));
  return FormatPercent(text, Value::Dict(std::move(items)));
}

Value Center(I& in, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "center", {"width"});
  CallArgs width;
  width.positional = {Value::Int(reader.Int(0, 80))};
  const Value text = Value::Str(ToStr(v), v.markup());
  return FindMethod(text, "center")(in, text, width);
}

Value WordCount(I&, const Value& v, CallArgs&) {
  const std::string text = ToStr(v);
  int64_t words = 0;
  bool inside = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextChar(text, pos);
    const bool word = c == '_' || (c >= '0' && c <= '9') || IsAlpha(c);
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::Int(words);
}

Value Attribute(I& in, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "attr", {"name"});
  if (v.Is(Kind::kDict)) {  // attributes only, not keys
    const std::string name = reader.Str(0, "");
    if (FindMethod(v, name) == nullptr)
      return Value::Undefined("dict object has no such attribute");
  }
  return in.GetAttr(v, reader.Str(0, ""));
}

const std::unordered_map<std::string_view, Filter>& Table() {
  static const std::unordered_map<std::string_view, Filter> table = {
      {"upper", Change<ToUpper>},
      {"lower", Change<ToLower>},
      {"capitalize", Change<Capitalize>},
      {"title", Change<TitleWords>},
      {"trim", Trim},
      {"replace", Replace},
      {"default", Default},
      {"d", Default},
      {"indent", Indent},
      {"int", ToInt},
      {"float", ToFloat},
      {"abs", Abs},
      {"round", Round},
      {"string", [](I&, const Value& v,
                    CallArgs&) { return v.Is(Kind::kString) ? v : Value::Str(ToStr(v)); }},
      {"safe", [](I&, const Value& v, CallArgs&) { return Value::Str(ToStr(v), true); }},
      {"escape", Escaped},
      {"e", Escaped},
      {"forceescape",
       [](I&, const Value& v, CallArgs&) { return Value::Str(Escape(ToStr(v)), true); }},
      {"tojson", ToJson},
      {"truncate", Truncate},
      {"format", Format},
      {"center", Center},
      {"wordcount", WordCount},
      {"attr", Attribute},
      {"length", [](I&, const Value& v, CallArgs&) { return Value::Int(Length(v)); }},
      {"count", [](I&, const Value& v, CallArgs&) { return Value::Int(Length(v)); }},
  };
  return table;
}

}  // namespace

Filter FindFilter(const std::string& name) {
  const auto it = Table().find(name);
  return it != Table().end() ? it->second : FindSequenceFilter(name);
}

}  // namespace slipstream::jinja
