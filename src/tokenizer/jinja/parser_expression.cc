#include <fmt/core.h>

#include <charconv>

#include "tokenizer/jinja/parser.h"

namespace slipstream::jinja {
namespace {

// Chains like a + b + c make trees as deep as they are long; evaluation recurses over them.
constexpr int kMaxDepth = 400;

bool IsComparison(const Token& token) {
  if (token.kind != TokenKind::kOperator) return false;
  const std::string& t = token.text;
  return t == "==" || t == "!=" || t == "<" || t == "<=" || t == ">" || t == ">=";
}

}  // namespace

void Parser::CheckDepth(int depth) const {
  if (depth > kMaxDepth) Fail("expression too long or too deep");
}

ExprPtr Parser::Make(ExprKind kind, int line) const {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  return node;
}

ExprPtr Parser::Make(ExprKind kind, int line, ExprPtr a, ExprPtr b) const {
  ExprPtr node = Make(kind, line);
  Adopt(*node, std::move(a));
  if (b != nullptr) Adopt(*node, std::move(b));
  return node;
}

void Parser::Adopt(Expr& parent, ExprPtr kid) const {
  if (kid != nullptr) parent.depth = std::max(parent.depth, kid->depth + 1);
  CheckDepth(parent.depth);
  parent.kids.push_back(std::move(kid));
}

ExprPtr Parser::ParseTuple(bool with_conditional, bool parenthesized, std::string_view end_name) {
  const Nest nest(*this);
  const int line = Current().line;
  const auto at_end = [&] {
    const TokenKind kind = Current().kind;
    return kind == TokenKind::kOutputEnd || kind == TokenKind::kBlockEnd || IsOperator(")") ||
           (!end_name.empty() && IsName(end_name));
  };
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (!at_end()) {
    items.push_back(with_conditional ? ParseConditional() : ParseOr());
    if (!SkipOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (!is_tuple && !parenthesized) {
    Fail(fmt::format("Expected an expression, got '{}'", Current().text));
  }
  ExprPtr tuple = Make(ExprKind::kTuple, line);
  for (ExprPtr& item : items) Adopt(*tuple, std::move(item));
  return tuple;
}

ExprPtr Parser::ParseConditional() {
  const Nest nest(*this);
  ExprPtr value = ParseOr();
  while (IsName("if")) {
    const int line = Next().line;
    ExprPtr test = ParseOr();
    ExprPtr other = SkipName("else") ? ParseConditional() : nullptr;
    value = Make(ExprKind::kConditional, line, std::move(value), std::move(test));
    Adopt(*value, std::move(other));
  }
  return value;
}

ExprPtr Parser::ParseOr() {
  ExprPtr left = ParseAnd();
  while (IsName("or")) {
    const int line = Next().line;
    left = Make(ExprKind::kOr, line, std::move(left), ParseAnd());
  }
  return left;
}

ExprPtr Parser::ParseAnd() {
  ExprPtr left = ParseNot();
  while (IsName("and")) {
    const int line = Next().line;
    left = Make(ExprKind::kAnd, line, std::move(left), ParseNot());
  }
  return left;
}

ExprPtr Parser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  const Nest nest(*this);
  const int line = Next().line;
  return Make(ExprKind::kNot, line, ParseNot());
}

ExprPtr Parser::ParseCompare() {
  ExprPtr left = ParseSum();
  ExprPtr node;
  while (true) {
    const Token token = Current();
    std::string op;
    if (IsComparison(token)) {
      op = Next().text;
    } else if (SkipName("in")) {
      op = "in";
    } else if (IsName("not") && Ahead().kind == TokenKind::kName && Ahead().text == "in") {
      Next();
      Next();
      op = "not in";
    } else {
      break;
    }
    if (node == nullptr) node = Make(ExprKind::kCompare, token.line, std::move(left));
    node->operators.push_back(std::move(op));
    Adopt(*node, ParseSum());
  }
  return node != nullptr ? std::move(node) : std::move(left);
}

ExprPtr Parser::ParseSum() {
  ExprPtr left = ParseConcat();
  while (IsOperator("+") || IsOperator("-")) {
    const Token op = Next();
    left = Make(ExprKind::kBinary, op.line, std::move(left), ParseConcat());
    left->name = op.text;
  }
  return left;
}

ExprPtr Parser::ParseConcat() {
  ExprPtr first = ParseProduct();
  if (!IsOperator("~")) return first;
  ExprPtr node = Make(ExprKind::kConcat, Current().line, std::move(first));
  while (SkipOperator("~")) Adopt(*node, ParseProduct());
  return node;
}

ExprPtr Parser::ParseProduct() {
  ExprPtr left = ParsePower();
  while (IsOperator("*") || IsOperator("/") || IsOperator("//") || IsOperator("%")) {
    const Token op = Next();
    left = Make(ExprKind::kBinary, op.line, std::move(left), ParsePower());
    left->name = op.text;
  }
  return left;
}

ExprPtr Parser::ParsePower() {
  ExprPtr left = ParseUnary(true);
  while (IsOperator("**")) {
    const int line = Next().line;
    left = Make(ExprKind::kBinary, line, std::move(left), ParseUnary(true));
    left->name = "**";
  }
  return left;
}

ExprPtr Parser::ParseUnary(bool with_filters) {
  const Nest nest(*this);
  ExprPtr node;
  if (IsOperator("-") || IsOperator("+")) {
    const Token op = Next();
    const ExprKind kind = op.text == "-" ? ExprKind::kNegate : ExprKind::kPlus;
    node = Make(kind, op.line, ParseUnary(false));
  } else {
    node = ParsePrimary();
  }
  node = ParsePostfix(std::move(node));
  return with_filters ? ParseFilters(std::move(node)) : std::move(node);
}

ExprPtr Parser::ParsePrimary() {
  const Token token = Current();
  ExprPtr node = Make(ExprKind::kConst, token.line);
  switch (token.kind) {
    case TokenKind::kName: {
      Next();
      if (token.text == "true" || token.text == "True") {
        node->value = Value::Bool(true);
      } else if (token.text == "false" || token.text == "False") {
        node->value = Value::Bool(false);
      } else if (token.text != "none" && token.text != "None") {
        node->kind = ExprKind::kName;
        node->name = token.text;
        node->symbol = Symbol(token.text);
        for (Stmt* macro : macros_) {
          macro->has_varargs |= token.text == "varargs";
          macro->has_kwargs |= token.text == "kwargs";
          macro->has_caller |= token.text == "caller";
        }
      }
      return node;
    }
    case TokenKind::kString: {
      std::string text;
      while (Current().kind == TokenKind::kString) text += Next().text;
      node->value = Value::Str(std::move(text));
      return node;
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return ParseNumber();
    default:
      break;
  }
  if (SkipOperator("(")) {
    node = ParseTuple(true, true);
    ExpectOperator(")");
    return node;
  }
  if (IsOperator("[")) return ParseList();
  if (IsOperator("{")) return ParseDict();
  Fail(fmt::format("unexpected '{}'", token.text));
}

ExprPtr Parser::ParseNumber() {
  const Token token = Next();
  ExprPtr node = Make(ExprKind::kConst, token.line);
  const char* begin = token.text.data();
  const char* end = begin + token.text.size();
  if (token.kind == TokenKind::kFloat) {
    double number = 0;
    std::from_chars(begin, end, number);
    node->value = Value::Float(number);
    return node;
  }
  int base = 10;
  if (token.text.size() > 2 && token.text[0] == '0') {
    const char kind = static_cast<char>(token.text[1] | 32);
    base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    if (base != 10) begin += 2;
  }
  uint64_t number = 0;
  const auto [parsed, error] = std::from_chars(begin, end, number, base);
  if (error != std::errc() || parsed != end) Fail("bad or too large number " + token.text);
  node->value = Value::Uint(number);
  return node;
}

ExprPtr Parser::ParseList() {
  ExprPtr node = Make(ExprKind::kList, Next().line);
  while (!IsOperator("]")) {
    if (!node->kids.empty()) ExpectOperator(",");
    if (IsOperator("]")) break;
    Adopt(*node, ParseExpression());
  }
  ExpectOperator("]");
  return node;
}

ExprPtr Parser::ParseDict() {
  ExprPtr node = Make(ExprKind::kDict, Next().line);
  while (!IsOperator("}")) {
    if (!node->kids.empty()) ExpectOperator(",");
    if (IsOperator("}")) break;
    Adopt(*node, ParseExpression());
    ExpectOperator(":");
    Adopt(*node, ParseExpression());
  }
  ExpectOperator("}");
  return node;
}

}  // namespace slipstream::jinja
