// Python's two ways to format text: `text % arguments` and text.format(arguments).
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text.h"

namespace slipstream::jinja {
namespace {

constexpr int64_t kMaxWidth = 10'000;

struct Spec {
  std::string fill = " ";
  char align = '\0';
  char sign = '-';
  bool comma = false;
  bool alternate = false;
  int64_t width = 0;
  std::optional<int64_t> precision;
  char type = '\0';
};

int64_t ReadNumber(std::string_view text, size_t& pos) {
  int64_t number = 0;
  while (pos < text.size() && text[pos] >= '0' && text[pos] <= '9') {
    number = number * 10 + (text[pos++] - '0');
    if (number > kMaxWidth) Raise("too large a width in a format");
  }
  return number;
}

std::string Pad(const Spec& spec, std::string text, char default_align) {
  const int64_t missing = spec.width - CharCount(text);
  if (missing <= 0) return text;
  const char align = spec.align != '\0' ? spec.align : default_align;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string out;
  size_t sign = align == '=' && !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  out.append(text, 0, sign);
  for (int64_t i = 0; i < left; ++i) out += spec.fill;
  out.append(text, sign);
  for (int64_t i = left; i < missing; ++i) out += spec.fill;
  return out;
}

void GroupThousands(std::string& digits) {
  size_t end = std::min(digits.find('.'), digits.size());
  for (int64_t i = static_cast<int64_t>(end) - 3; i > 0; i -= 3) {
    digits.insert(static_cast<size_t>(i), ",");
  }
}

std::string FormatNumber(const Spec& spec, const Value& value) {
  std::string digits;
  bool negative;
  const char type = spec.type;
  const bool real =
      value.Is(Kind::kFloat) ||
      (type != '\0' && std::string_view("eEfFgG%").find(type) != std::string_view::npos);
  if (!real) {
    negative = !value.Is(Kind::kUint) && value.integer() < 0;
    const uint64_t magnitude = negative ? 0 - value.uint() : value.uint();
    const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    char buffer[72];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude, base);
    digits.assign(buffer, end.ptr);
    if (type == 'X') digits = ToUpper(digits);
    if (spec.alternate && base != 10) digits = std::string("0") + type + digits;
    if (spec.precision && static_cast<int64_t>(digits.size()) < *spec.precision) {
      digits.insert(0, static_cast<size_t>(*spec.precision) - digits.size(), '0');
    }
  } else {
    double number = value.AsDouble();
    negative = std::signbit(number) && !std::isnan(number);
    number = std::fabs(number);
    const int precision = static_cast<int>(spec.precision.value_or(6));
    if (type == '%') {
      digits = fmt::format("{:.{}f}%", number * 100, precision);
    } else if (type == '\0' && !spec.precision) {
      digits = ReprFloat(number);
    } else {
      const std::string pattern = fmt::format("{{:.{}{}}}", precision, type == '\0' ? 'g' : type);
      digits = fmt::format(fmt::runtime(pattern), number);
    }
  }
  if (spec.comma) GroupThousands(digits);
  if (negative) {
    digits.insert(0, "-");
  } else if (spec.sign != '-') {
    digits.insert(0, 1, spec.sign);
  }
  return Pad(spec, std::move(digits), '>');
}

// format(value, spec) of Python for strings and numbers.
std::string FormatValue(const Value& value, std::string_view text) {
  Spec spec;
  size_t pos = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (!text.empty()) {
    size_t next = 0;
    NextChar(text, next);
    if (next < text.size() && is_align(text[next])) {
      spec.fill = text.substr(0, next);
      spec.align = text[next];
      pos = next + 1;
    } else if (is_align(text[0])) {
      spec.align = text[pos++];
    }
  }
  const auto at = [&] { return pos < text.size() ? text[pos] : '\0'; };
  if (at() == '+' || at() == '-' || at() == ' ') spec.sign = text[pos++];
  if (at() == '#') spec.alternate = text[pos++] == '#';
  if (at() == '0') {
    ++pos;
    if (spec.align == '\0') {
      spec.fill = "0";
      spec.align = '=';
    }
  }
  spec.width = ReadNumber(text, pos);
  if (at() == ',') spec.comma = text[pos++] == ',';
  if (at() == '.') spec.precision = ReadNumber(text, ++pos);
  if (pos < text.size()) spec.type = text[pos++];
  if (pos != text.size()) Raise("Invalid format specifier");
  static constexpr std::string_view kNumeric = "bcdeEfFgGnoxX%";
  const bool numeric = spec.type != '\0' && kNumeric.find(spec.type) != std::string_view::npos;
  if (value.IsNumber() && (numeric || spec.type == '\0') &&
      !(value.Is(Kind::kBool) && spec.type == '\0')) {
    if (spec.type == 'c' || spec.type == 'n') Raise("Unknown format code");
    const bool whole = std::string_view("bdoxX").find(spec.type) != std::string_view::npos;
    if (value.Is(Kind::kFloat) && spec.type != '\0' && whole)
      Raise("Unknown format code for float");
    return FormatNumber(spec, value);
  }
  if (numeric || (spec.type != '\0' && spec.type != 's')) {
    Raise(fmt::format("Unknown format code '{}' for object of type '{}'", spec.type,
                      TypeName(value)));
  }
  if (!value.Is(Kind::kString) && !text.empty() && !value.Is(Kind::kBool)) {
    Raise(fmt::format("unsupported format string passed to {}.__format__", TypeName(value)));
  }
  std::string shown = ToStr(value);
  if (spec.precision) shown.resize(ByteOffset(shown, *spec.precision));
  return Pad(spec, std::move(shown), '<');
}

// "0.name[key]" of a replacement field.
Value Field(Interpreter& in, std::string_view path, CallArgs& args, int64_t& automatic) {
  const size_t end = std::min(path.find_first_of(".["), path.size());
  const std::string first(path.substr(0, end));
  Value value;
  if (first.empty() || (first[0] >= '0' && first[0] <= '9')) {
    size_t pos = 0;
    const int64_t index = first.empty() ? automatic++ : ReadNumber(first, pos);
    if (index >= static_cast<int64_t>(args.positional.size())) {
      Raise(fmt::format("Replacement index {} out of range for positional args tuple", index));
    }
    value = args.positional[static_cast<size_t>(index)];
  } else {
    const auto it = std::find_if(args.named.begin(), args.named.end(),
                                 [&](const auto& named) { return named.first == first; });
    if (it == args.named.end()) Raise(ReprStr(first));
    value = it->second;
  }
  for (size_t pos = end; pos < path.size();) {
    const bool attribute = path[pos] == '.';
    const size_t stop =
        attribute ? std::min(path.find_first_of(".[", pos + 1), path.size()) : path.find(']', pos);
    if (stop == std::string_view::npos) Raise("Missing ']' in format string");
    const std::string key(path.substr(pos + 1, stop - pos - 1));
    int64_t number = 0;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), number);
    const bool is_index = !attribute && !key.empty() && parsed.ptr == key.data() + key.size();
    value = attribute  ? in.GetAttr(value, key)
            : is_index ? in.GetItem(value, Value::Int(number))
                       : in.GetItem(value, Value::Str(key));
    pos = attribute ? stop : stop + 1;
  }
  return value;
}

Value PercentArgument(const Value& args, size_t& used) {
  if (!args.Is(Kind::kTuple)) {
    if (used++ > 0) Raise("not enough arguments for format string");
    return args;
  }
  if (used >= args.items().size()) Raise("not enough arguments for format string");
  return args.items()[used++];
}

std::string PercentPiece(Spec spec, const Value& value) {
  if (spec.type == 's' || spec.type == 'r' || spec.type == 'a') {
    std::string text = spec.type == 's' ? ToStr(value) : Repr(value);
    if (spec.precision) text.resize(ByteOffset(text, *spec.precision));
    return Pad(spec, std::move(text), '>');
  }
  if (spec.type == 'c' && value.Is(Kind::kString)) return Pad(spec, value.str(), '>');
  static constexpr std::string_view kNumeric = "diuxXoeEfFgG";
  if (kNumeric.find(spec.type) == std::string_view::npos) Raise("unsupported format character");
  RequireDefined(value);
  if (!value.IsNumber()) {
    Raise(fmt::format("%{} format: a real number is required, not {}", spec.type, TypeName(value)));
  }
  const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
  if (!decimal) return FormatNumber(spec, value);
  spec.type = 'd';
  if (!value.Is(Kind::kFloat)) return FormatNumber(spec, value);
  const double number = std::trunc(value.AsDouble());
  if (!(std::fabs(number) < 9e18)) Raise("float too large for %d");
  return FormatNumber(spec, Value::Int(static_cast<int64_t>(number)));
}

}  // namespace

Value FormatPercent(const Value& text, const Value& args) {
  const std::string& s = text.str();
  std::string out;
  size_t used = 0;
  for (size_t pos = 0; pos < s.size();) {
    if (s[pos] != '%') {
      out += s[pos++];
      continue;
    }
    if (++pos >= s.size()) Raise("incomplete format");
    if (s[pos] == '%') {
      out += s[pos++];
      continue;
    }
    std::optional<Value> named;
    if (s[pos] == '(') {
      const size_t close = s.find(')', pos);
      if (close == std::string::npos) Raise("incomplete format key");
      if (!args.Is(Kind::kDict)) Raise("format requires a mapping");
      const std::string key = s.substr(pos + 1, close - pos - 1);
      const Value* found = args.dict().Find(key);
      if (found == nullptr) Raise(ReprStr(key));
      named = *found;
      pos = close + 1;
    }
    Spec spec;
    for (; pos < s.size() && std::string_view("-+ 0#").find(s[pos]) != std::string_view::npos;
         ++pos) {
      if (s[pos] == '-') spec.align = '<';
      if (s[pos] == '+' || (s[pos] == ' ' && spec.sign != '+')) spec.sign = s[pos];
      if (s[pos] == '#') spec.alternate = true;
      if (s[pos] == '0' && spec.align == '\0') {
        spec.fill = "0";
        spec.align = '=';
      }
    }
    spec.width = ReadNumber(s, pos);
    if (pos < s.size() && s[pos] == '.') spec.precision = ReadNumber(s, ++pos);
    if (pos >= s.size()) Raise("incomplete format");
    spec.type = s[pos++];
    const Value value = named ? *named : PercentArgument(args, used);
    const std::string piece = PercentPiece(spec, value);
    out += text.markup() && !value.markup() ? Escape(piece) : piece;
    CurrentBudget()->Step(1 + static_cast<int64_t>(piece.size()) / 16);
  }
  const size_t given = args.Is(Kind::kTuple)  ? args.items().size()
                       : args.Is(Kind::kDict) ? used
                                              : 1;
  if (used < given) Raise("not all arguments converted during string formatting");
  return Value::Str(std::move(out), text.markup());
}

Value FormatBraces(Interpreter& interpreter, const Value& text, CallArgs& args) {
  const std::string& s = text.str();
  std::string out;
  int64_t automatic = 0;
  for (size_t pos = 0; pos < s.size();) {
    const char c = s[pos];
    const bool doubled = pos + 1 < s.size() && s[pos + 1] == c;
    if (c != '{' && c != '}') {
      out += c;
      ++pos;
    } else if (doubled) {
      out += c;
      pos += 2;
    } else if (c == '}') {
      Raise("Single '}' encountered in format string");
    } else {
      const size_t close = s.find('}', pos);
      if (close == std::string::npos) Raise("expected '}' before end of string");
      std::string_view field = std::string_view(s).substr(pos + 1, close - pos - 1);
      std::string_view spec;
      if (const size_t colon = field.find(':'); colon != std::string_view::npos) {
        spec = field.substr(colon + 1);
        field = field.substr(0, colon);
      }
      if (spec.find('{') != std::string_view::npos) Raise("nested format fields are not supported");
      char conversion = '\0';
      if (field.size() >= 2 && field[field.size() - 2] == '!') {
        conversion = field.back();
        field.remove_suffix(2);
      }
      Value value = Field(interpreter, field, args, automatic);
      if (conversion == 'r' || conversion == 'a') value = Value::Str(Repr(value));
      if (conversion == 's') value = Value::Str(ToStr(value));
      const std::string piece = FormatValue(value, spec);
      out += text.markup() && !value.markup() ? Escape(piece) : piece;
      interpreter.budget().Step(1 + static_cast<int64_t>(piece.size()) / 16);
      pos = close + 1;
    }
  }
  return Value::Str(std::move(out), text.markup());
}

}  // namespace slipstream::jinja
