// Arithmetic, as Python does it; whole numbers are 64 bits and overflow is an error.
#include <fmt/core.h>

#include <cmath>

#include "tokenizer/jinja/interpreter.h"

namespace slipstream::jinja {
namespace {

[[noreturn]] void Unsupported(const std::string& op, const Value& a, const Value& b) {
  if (op == "+" && a.Is(Kind::kString)) {
    Raise(fmt::format("can only concatenate str (not \"{}\") to str", TypeName(b)));
  }
  if (op == "+" && a.Is(Kind::kList)) {
    Raise(fmt::format("can only concatenate list (not \"{}\") to list", TypeName(b)));
  }
  Raise(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", op, TypeName(a),
                    TypeName(b)));
}

Value PowerOfInts(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) Raise("0.0 cannot be raised to a negative power");
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
      Raise("integer too large");
    }
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) Raise("integer too large");
  }
  return Value::Int(result);
}

Value IntOperation(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    return PowerOfInts(a, b);
  } else {
    if (b == 0) Raise(op == "/" ? "division by zero" : "integer division or modulo by zero");
    if (op == "/") return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1) return op == "//" ? IntOperation("-", 0, a) : Value::Int(0);
    const int64_t remainder = a % b;
    const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);  // Python rounds down
    result = op == "//" ? a / b - (adjust ? 1 : 0) : remainder + (adjust ? b : 0);
  }
  if (overflow) Raise("integer too large");
  return Value::Int(result);
}

Value FloatOperation(const std::string& op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (op == "**") return Value::Float(std::pow(a, b));
  if (b == 0) Raise("float division by zero");
  if (op == "/") return Value::Float(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  return Value::Float(op == "%" ? remainder : std::floor((a - remainder) / b + 0.5));
}

Value Repeat(const Value& value, int64_t times) {
  Budget& budget = *CurrentBudget();
  times = std::max<int64_t>(times, 0);
  const bool text = value.Is(Kind::kString);
  const auto size =
      static_cast<int64_t>(text ? value.str().size() : value.items().size() * sizeof(Value));
  int64_t bytes = 0;
  if (__builtin_mul_overflow(size, times, &bytes)) Raise("the template needs too much memory");
  budget.Hold(bytes);  // asked for before it is made
  budget.Drop(bytes);
  if (size == 0) times = 0;
  if (text) {
    // Doubled: a character repeated a hundred million times is not as many appends.
    const auto wanted = static_cast<size_t>(bytes);
    std::string out;
    out.reserve(wanted);
    if (wanted > 0) out = value.str();
    while (out.size() < wanted) out.append(out, 0, wanted - out.size());
    return Value::Str(std::move(out), value.markup());
  }
  budget.Step(times * static_cast<int64_t>(value.items().size()));
  std::vector<Value> items;
  for (int64_t i = 0; i < times; ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return Value::List(std::move(items), value.kind());
}

Value Add(const Value& a, const Value& b) {
  if (a.Is(Kind::kString) && b.Is(Kind::kString)) {
    const bool markup = a.markup() || b.markup();
    if (!markup || (a.markup() && b.markup())) return Value::Str(a.str() + b.str(), markup);
    return a.markup() ? Value::Str(a.str() + Escape(b.str()), true)
                      : Value::Str(Escape(a.str()) + b.str(), true);
  }
  const bool lists = a.kind() == b.kind() && (a.Is(Kind::kList) || a.Is(Kind::kTuple));
  if (!lists) Unsupported("+", a, b);
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  CurrentBudget()->Step(static_cast<int64_t>(items.size()));
  return Value::List(std::move(items), a.kind());
}

bool Repeatable(const Value& value) {
  return value.Is(Kind::kString) || value.Is(Kind::kList) || value.Is(Kind::kTuple);
}

}  // namespace

Value BinaryOperation(const std::string& op, const Value& a, const Value& b) {
  if (op == "%" && a.Is(Kind::kString)) return FormatPercent(a, b);
  RequireDefined(a);
  RequireDefined(b);
  if (a.IsNumber() && b.IsNumber()) {
    return a.IsIntegral() && b.IsIntegral() ? IntOperation(op, a.integer(), b.integer())
                                            : FloatOperation(op, a.AsDouble(), b.AsDouble());
  }
  if (op == "+") return Add(a, b);
  if (op == "*" && Repeatable(a) && b.IsIntegral()) return Repeat(a, b.integer());
  if (op == "*" && Repeatable(b) && a.IsIntegral()) return Repeat(b, a.integer());
  Unsupported(op, a, b);
}

Value Negate(const Value& value) {
  RequireDefined(value);
  if (value.IsIntegral()) return IntOperation("-", 0, value.integer());
  if (value.IsNumber()) return Value::Float(-value.AsDouble());
  Raise(fmt::format("bad operand type for unary -: '{}'", TypeName(value)));
}

}  // namespace slipstream::jinja
