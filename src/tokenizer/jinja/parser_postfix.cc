// What follows a primary expression: attributes, subscripts, calls, filters and tests.
#include <fmt/core.h>

#include "tokenizer/jinja/parser.h"

namespace slipstream::jinja {

ExprPtr Parser::ParsePostfix(ExprPtr node) {
  while (true) {
    if (IsOperator(".") || IsOperator("[")) {
      node = ParseSubscript(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::ParseFilters(ExprPtr node) {
  while (true) {
    if (SkipOperator("|")) {
      node = ParseFilter(std::move(node), false);
    } else if (IsName("is")) {
      node = ParseTest(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      return node;
    }
  }
}

std::string Parser::ParseDottedName() {
  std::string name = ExpectKind(TokenKind::kName, "a name").text;
  while (SkipOperator(".")) name += "." + ExpectKind(TokenKind::kName, "a name").text;
  return name;
}

ExprPtr Parser::ParseFilter(ExprPtr node, bool inside_block) {
  ExprPtr filter = Make(ExprKind::kFilter, Current().line);
  filter->name = ParseDottedName();
  if (node != nullptr || inside_block) Adopt(*filter, std::move(node));
  if (IsOperator("(")) filter->arguments = ParseArguments(filter->depth);
  return filter;
}

ExprPtr Parser::ParseTest(ExprPtr node) {
  const int line = Next().line;
  const bool negated = SkipName("not");
  ExprPtr test = Make(ExprKind::kTest, line, std::move(node));
  test->name = ParseDottedName();
  const TokenKind kind = Current().kind;
  const bool operand =
      kind == TokenKind::kString || kind == TokenKind::kInteger || kind == TokenKind::kFloat ||
      IsOperator("[") || IsOperator("{") ||
      (kind == TokenKind::kName && !IsName("else") && !IsName("or") && !IsName("and"));
  if (IsOperator("(")) {
    test->arguments = ParseArguments(test->depth);
  } else if (operand) {
    if (IsName("is")) Fail("You cannot chain multiple tests with is");
    const Nest nest(*this);
    test->arguments = std::make_unique<Arguments>();
    ExprPtr argument = ParsePostfix(ParsePrimary());
    test->depth = std::max(test->depth, argument->depth + 1);
    CheckDepth(test->depth);
    test->arguments->positional.push_back(std::move(argument));
  }
  return negated ? Make(ExprKind::kNot, line, std::move(test)) : std::move(test);
}

ExprPtr Parser::ParseSubscript(ExprPtr node) {
  const int line = Current().line;
  if (SkipOperator(".")) {
    const Token attribute = Next();
    if (attribute.kind == TokenKind::kName) {
      ExprPtr get = Make(ExprKind::kGetAttr, line, std::move(node));
      get->name = attribute.text;
      return get;
    }
    if (attribute.kind != TokenKind::kInteger) Fail("expected name or number");
    --pos_;
    return Make(ExprKind::kGetItem, line, std::move(node), ParseNumber());
  }
  ExpectOperator("[");
  std::vector<ExprPtr> keys;
  while (!IsOperator("]")) {
    if (!keys.empty()) ExpectOperator(",");
    keys.push_back(ParseSubscribed());
  }
  ExpectOperator("]");
  if (keys.size() == 1) {
    return Make(ExprKind::kGetItem, line, std::move(node), std::move(keys[0]));
  }
  ExprPtr tuple = Make(ExprKind::kTuple, line);
  for (ExprPtr& key : keys) {
    if (key->kind == ExprKind::kSlice) Fail("slices of several dimensions are not supported");
    Adopt(*tuple, std::move(key));
  }
  return Make(ExprKind::kGetItem, line, std::move(node), std::move(tuple));
}

ExprPtr Parser::ParseSubscribed() {
  const int line = Current().line;
  ExprPtr start = IsOperator(":") ? nullptr : ParseExpression();
  if (!SkipOperator(":")) return start;
  ExprPtr slice = Make(ExprKind::kSlice, line);
  Adopt(*slice, std::move(start));
  const auto part = [&]() -> ExprPtr {
    const bool empty = IsOperator(":") || IsOperator("]") || IsOperator(",");
    return empty ? nullptr : ParseExpression();
  };
  Adopt(*slice, part());
  Adopt(*slice, SkipOperator(":") ? part() : nullptr);
  return slice;
}

ExprPtr Parser::ParseCall(ExprPtr node) {
  ExprPtr call = Make(ExprKind::kCall, Current().line, std::move(node));
  call->arguments = ParseArguments(call->depth);
  return call;
}

std::unique_ptr<Arguments> Parser::ParseArguments(int& depth) {
  auto arguments = std::make_unique<Arguments>();
  ExpectOperator("(");
  const auto parse = [&] {
    ExprPtr value = ParseExpression();
    depth = std::max(depth, value->depth + 1);
    CheckDepth(depth);
    return value;
  };
  bool first = true;
  while (!IsOperator(")")) {
    if (!std::exchange(first, false)) ExpectOperator(",");
    if (IsOperator(")")) break;
    if (SkipOperator("*")) {
      if (arguments->list || arguments->mapping)
        Fail("invalid syntax for function call expression");
      arguments->list = parse();
    } else if (SkipOperator("**")) {
      if (arguments->mapping) Fail("invalid syntax for function call expression");
      arguments->mapping = parse();
    } else if (Current().kind == TokenKind::kName && Ahead().kind == TokenKind::kOperator &&
               Ahead().text == "=") {
      if (arguments->mapping) Fail("invalid syntax for function call expression");
      std::string name = Next().text;
      Next();
      arguments->named.emplace_back(std::move(name), parse());
    } else {
      if (arguments->list || arguments->mapping || !arguments->named.empty()) {
        Fail("invalid syntax for function call expression");
      }
      arguments->positional.push_back(parse());
    }
  }
  ExpectOperator(")");
  return arguments;
}

}  // namespace slipstream::jinja
