#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text.h"

namespace slipstream::jinja {

Value Interpreter::Eval(const Expr& expr) {
  budget_.Enter();
  Value value = EvalNode(expr);
  budget_.Leave();
  return value;
}

Value Interpreter::EvalNode(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kConst:
      return expr.value;
    case ExprKind::kName: {
      if (const Value* value = Find(expr.symbol)) return *value;
      return Value::Undefined(fmt::format("'{}' is undefined", expr.name));
    }
    case ExprKind::kList:
    case ExprKind::kTuple:
    case ExprKind::kDict:
      return EvalItems(expr);
    case ExprKind::kGetAttr:
      return GetAttr(Eval(*expr.kids[0]), expr.name);
    case ExprKind::kGetItem: {
      const Value object = Eval(*expr.kids[0]);
      const Expr& key = *expr.kids[1];
      return key.kind == ExprKind::kSlice ? EvalSlice(object, key) : GetItem(object, Eval(key));
    }
    case ExprKind::kSlice:
      Raise("a slice outside of a subscript");
    case ExprKind::kCall:
      return EvalCall(expr, nullptr);
    case ExprKind::kFilter:
      return EvalFilter(expr, nullptr);
    case ExprKind::kTest:
      return Value::Bool(EvalTest(expr));
    case ExprKind::kNot:
      return Value::Bool(!Truth(Eval(*expr.kids[0])));
    case ExprKind::kNegate:
      return Negate(Eval(*expr.kids[0]));
    case ExprKind::kPlus: {
      Value value = Eval(*expr.kids[0]);
      RequireDefined(value);
      if (!value.IsNumber()) {
        Raise(fmt::format("bad operand type for unary +: '{}'", TypeName(value)));
      }
      return value;
    }
    case ExprKind::kBinary: {
      const Value left = Eval(*expr.kids[0]);
      return BinaryOperation(expr.name, left, Eval(*expr.kids[1]));
    }
    case ExprKind::kCompare:
      return EvalCompare(expr);
    case ExprKind::kAnd: {
      Value left = Eval(*expr.kids[0]);
      return Truth(left) ? Eval(*expr.kids[1]) : std::move(left);
    }
    case ExprKind::kOr: {
      Value left = Eval(*expr.kids[0]);
      return Truth(left) ? std::move(left) : Eval(*expr.kids[1]);
    }
    case ExprKind::kConditional: {
      if (Truth(Eval(*expr.kids[1]))) return Eval(*expr.kids[0]);
      if (expr.kids[2] != nullptr) return Eval(*expr.kids[2]);
      return Value::Undefined(
          "the inline if-expression evaluated to false and no else section was defined.");
    }
    case ExprKind::kConcat:
      return EvalConcat(expr);
  }
  Raise("unknown expression");
}

Value Interpreter::EvalItems(const Expr& expr) {
  if (expr.kind == ExprKind::kDict) {
    std::vector<std::pair<Value, Value>> items;
    for (size_t i = 0; i + 1 < expr.kids.size(); i += 2) {
      Value key = Eval(*expr.kids[i]);
      items.emplace_back(std::move(key), Eval(*expr.kids[i + 1]));
    }
    return Value::Dict(std::move(items));
  }
  std::vector<Value> items;
  items.reserve(expr.kids.size());
  for (const ExprPtr& kid : expr.kids) items.push_back(Eval(*kid));
  return Value::List(std::move(items), expr.kind == ExprKind::kList ? Kind::kList : Kind::kTuple);
}

Value Interpreter::EvalCompare(const Expr& expr) {
  Value left = Eval(*expr.kids[0]);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    const std::string& op = expr.operators[i];
    Value right = Eval(*expr.kids[i + 1]);
    bool holds;
    if (op == "==" || op == "!=") {
      holds = Equal(left, right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = Contains(right, left) == (op == "in");
    } else {
      const int order = Compare(left, right, op);
      holds = op == "<"    ? order == -1
              : op == "<=" ? order == -1 || order == 0
              : op == ">"  ? order == 1
                           : order == 1 || order == 0;
    }
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

// Without autoescape, ~ joins plain text: it neither escapes nor gives Markup.
Value Interpreter::EvalConcat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& kid : expr.kids) {
    const Value part = Eval(*kid);
    const std::string piece = part.Is(Kind::kString) ? std::string() : ToStr(part);
    const std::string& shown = part.Is(Kind::kString) ? part.str() : piece;
    budget_.Step(static_cast<int64_t>(shown.size()) / 16);
    text += shown;
  }
  return Value::Str(std::move(text));
}

namespace {

// One bound of a slice; Python accepts None and whole numbers.
std::optional<int64_t> SliceBound(const Value& value) {
  if (value.Is(Kind::kNone)) return std::nullopt;
  RequireDefined(value);
  if (!value.IsIntegral()) Raise("slice indices must be integers or None");
  return value.integer();
}

}  // namespace

Value Interpreter::EvalSlice(const Value& object, const Expr& slice) {
  std::optional<int64_t> bounds[3];
  for (int i = 0; i < 3; ++i) {
    if (slice.kids[i] != nullptr) bounds[i] = SliceBound(Eval(*slice.kids[i]));
  }
  RequireDefined(object);
  const bool text = object.Is(Kind::kString);
  if (!text && !object.IsListLike()) {
    return Value::Undefined(fmt::format("{} object has no element slice", TypeName(object)));
  }
  const int64_t step = bounds[2].value_or(1);
  if (step == 0) Raise("slice step cannot be zero");
  const int64_t length = Length(object);
  const auto clamp = [&](std::optional<int64_t> bound, int64_t fallback) {
    if (!bound) return fallback;
    const int64_t index = *bound < 0 ? *bound + length : *bound;
    return step > 0 ? std::clamp<int64_t>(index, 0, length)
                    : std::clamp<int64_t>(index, -1, length - 1);
  };
  const int64_t start = clamp(bounds[0], step > 0 ? 0 : length - 1);
  const int64_t stop = clamp(bounds[1], step > 0 ? length : -1);
  if (text && step == 1) {
    const std::string& s = object.str();
    const size_t begin = ByteOffset(s, start);
    const size_t size =
        stop > start ? ByteOffset(std::string_view(s).substr(begin), stop - start) : 0;
    return Value::Str(s.substr(begin, size), object.markup());
  }
  const std::vector<Value> items = text ? Iterate(object) : std::vector<Value>();
  const std::vector<Value>& from = text ? items : object.items();
  std::vector<Value> picked;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    picked.push_back(from[static_cast<size_t>(i)]);
    if (step > 0 ? step >= stop - i : step <= stop - i) break;
    i += step;
  }
  budget_.Step(static_cast<int64_t>(picked.size()));
  if (!text) return Value::List(std::move(picked), object.kind());
  std::string joined;
  for (const Value& piece : picked) joined += piece.str();
  return Value::Str(std::move(joined), object.markup());
}

CallArgs Interpreter::EvalArguments(const Arguments* arguments) {
  CallArgs args;
  if (arguments == nullptr) return args;
  for (const ExprPtr& expr : arguments->positional) args.positional.push_back(Eval(*expr));
  if (arguments->list != nullptr) {
    for (Value& value : Iterate(Eval(*arguments->list)))
      args.positional.push_back(std::move(value));
  }
  for (const auto& [name, expr] : arguments->named) args.named.emplace_back(name, Eval(*expr));
  if (arguments->mapping != nullptr) {
    const Value mapping = Eval(*arguments->mapping);
    if (!mapping.Is(Kind::kDict)) Raise("argument after ** must be a mapping");
    for (const auto& [key, value] : mapping.dict().items)
      args.named.emplace_back(ToStr(key), value);
  }
  return args;
}

// Methods of a string read it, most of them whole, and many look for another in it.
void Interpreter::ChargeMethod(const Value& self, const CallArgs& args) {
  if (!self.Is(Kind::kString)) return;
  size_t longest = 0;
  for (const Value& arg : args.positional) {
    if (arg.Is(Kind::kString)) longest = std::max(longest, arg.str().size());
  }
  const size_t bytes = self.str().size();
  budget_.Step(static_cast<int64_t>(bytes) / 16 + SearchSteps(bytes, longest));
}

Value Interpreter::EvalCall(const Expr& expr, const Value* caller) {
  const Expr& callee = *expr.kids[0];
  Method method = nullptr;
  Value target;
  if (callee.kind == ExprKind::kGetAttr) {  // a method: no need to bind it first
    const Value self = Eval(*callee.kids[0]);
    method = FindMethod(self, callee.name);
    target = method != nullptr ? self : GetAttr(self, callee.name);
  } else {
    target = Eval(callee);
  }
  CallArgs args = EvalArguments(expr.arguments.get());
  if (caller != nullptr) args.named.emplace_back("caller", *caller);
  if (method == nullptr) return Call(target, args);
  ChargeMethod(target, args);
  return method(*this, target, args);
}

Value Interpreter::Call(const Value& callee, CallArgs& args) {
  switch (callee.kind()) {
    case Kind::kMacro:
      return CallMacro(callee.macro(), args);
    case Kind::kLoop:
      return CallLoop(callee.loop(), args);
    case Kind::kCallable:
      ChargeMethod(callee.callable().self, args);
      return callee.callable().function(*this, callee.callable().self, args);
    default:
      break;
  }
  RequireDefined(callee);
  Raise(fmt::format("'{}' object is not callable", TypeName(callee)));
}

Value Interpreter::EvalFilter(const Expr& expr, const Value* input) {
  // Filter blocks have no input expression: the innermost filter takes the block's text.
  const Expr* inner = expr.kids.empty() ? nullptr : expr.kids[0].get();
  Value value;
  if (inner == nullptr) {
    if (input == nullptr) Raise("a filter without input");
    value = *input;
  } else if (input != nullptr && inner->kind == ExprKind::kFilter) {
    value = EvalFilter(*inner, input);
  } else {
    value = Eval(*inner);
  }
  const Filter filter = FindFilter(expr.name);
  if (filter == nullptr) Raise(fmt::format("No filter named '{}'.", expr.name));
  CallArgs args = EvalArguments(expr.arguments.get());
  return filter(*this, value, args);
}

bool Interpreter::EvalTest(const Expr& expr) {
  const Value value = Eval(*expr.kids[0]);
  const Test test = FindTest(expr.name);
  if (test == nullptr) Raise(fmt::format("No test named '{}'.", expr.name));
  CallArgs args = EvalArguments(expr.arguments.get());
  return test(*this, value, args);
}

}  // namespace slipstream::jinja
