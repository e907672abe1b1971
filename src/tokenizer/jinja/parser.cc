#include "tokenizer/jinja/parser.h"

#include <fmt/core.h>

#include <algorithm>

namespace slipstream::jinja {
namespace {

constexpr int kMaxNesting = 96;

}  // namespace

Tree ParseTemplate(const std::string& source) { return Parser(Tokenize(source)).Parse(); }

Parser::Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

Parser::Nest::Nest(Parser& parser) : parser_(parser) {
  if (parser.nesting_ + 1 > kMaxNesting) parser.Fail("nested too deeply");
  ++parser.nesting_;
}

Tree Parser::Parse() {
  Tree tree;
  tree.body = ParseBody({});
  tree.symbols = std::move(symbols_);
  return tree;
}

Token Parser::Next() {
  Token token = tokens_[pos_];
  if (pos_ + 1 < tokens_.size()) ++pos_;
  return token;
}

bool Parser::IsOperator(std::string_view op) const {
  return Current().kind == TokenKind::kOperator && Current().text == op;
}
bool Parser::IsName(std::string_view name) const {
  return Current().kind == TokenKind::kName && Current().text == name;
}
bool Parser::SkipOperator(std::string_view op) {
  if (!IsOperator(op)) return false;
  Next();
  return true;
}
bool Parser::SkipName(std::string_view name) {
  if (!IsName(name)) return false;
  Next();
  return true;
}
void Parser::ExpectOperator(std::string_view op) {
  if (!SkipOperator(op)) Fail(fmt::format("expected '{}', got '{}'", op, Current().text));
}
void Parser::ExpectName(std::string_view name) {
  if (!SkipName(name)) Fail(fmt::format("expected '{}', got '{}'", name, Current().text));
}
Token Parser::ExpectKind(TokenKind kind, std::string_view what) {
  if (Current().kind != kind) Fail(fmt::format("expected {}, got '{}'", what, Current().text));
  return Next();
}

void Parser::Fail(std::string_view what) const {
  Raise(fmt::format("template line {}: {}", Current().line, what));
}

int Parser::Symbol(const std::string& name) {
  const auto [it, added] = symbol_numbers_.try_emplace(name, static_cast<int>(symbols_.size()));
  if (added) symbols_.push_back(name);
  return it->second;
}

// Statements up to a tag named in `ends`; that tag's name is the current token afterwards.
Body Parser::ParseBody(const std::vector<std::string_view>& ends) {
  const Nest nest(*this);
  Body body;
  while (true) {
    const Token token = Current();
    if (token.kind == TokenKind::kText) {
      Stmt stmt;
      stmt.kind = StmtKind::kText;
      stmt.line = token.line;
      stmt.text = Next().text;
      body.push_back(std::move(stmt));
    } else if (token.kind == TokenKind::kOutputBegin) {
      Next();
      Stmt stmt;
      stmt.kind = StmtKind::kOutput;
      stmt.line = token.line;
      stmt.exprs.push_back(ParseTuple(true, false));
      ExpectKind(TokenKind::kOutputEnd, "'}}'");
      body.push_back(std::move(stmt));
    } else if (token.kind == TokenKind::kBlockBegin) {
      Next();
      const bool ended =
          std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return IsName(end); });
      if (ended) return body;
      body.push_back(ParseStatement());
      ExpectKind(TokenKind::kBlockEnd, "'%}'");
    } else {
      if (!ends.empty()) Fail(fmt::format("unexpected end of template, expected '{}'", ends[0]));
      return body;
    }
  }
}

// The rest of a tag, then its body up to (not including) the name in `ends`.
Body Parser::ParseBlockBody(const std::vector<std::string_view>& ends) {
  SkipOperator(":");
  ExpectKind(TokenKind::kBlockEnd, "'%}'");
  return ParseBody(ends);
}

Stmt Parser::ParseStatement() {
  const int line = Current().line;
  const Token tag = ExpectKind(TokenKind::kName, "a tag name");
  Stmt stmt;
  if (tag.text == "if") {
    stmt = ParseIf();
  } else if (tag.text == "for") {
    stmt = ParseFor();
  } else if (tag.text == "set") {
    stmt = ParseSet();
  } else if (tag.text == "macro") {
    stmt = ParseMacro();
  } else if (tag.text == "call") {
    stmt = ParseCallBlock();
  } else if (tag.text == "filter") {
    stmt = ParseFilterBlock();
  } else if (tag.text == "with") {
    stmt = ParseWith();
  } else if (tag.text == "block") {
    stmt = ParseScope("endblock", true);
  } else if (tag.text == "generation") {
    stmt = ParseScope("endgeneration", false);
  } else if (tag.text == "print") {
    stmt.kind = StmtKind::kOutput;
    stmt.exprs.push_back(ParseExpression());
  } else if (tag.text == "break" || tag.text == "continue") {
    if (loops_ == 0) Fail(fmt::format("'{}' outside of a loop", tag.text));
    stmt.kind = tag.text == "break" ? StmtKind::kBreak : StmtKind::kContinue;
  } else {
    Fail(fmt::format("Encountered unknown tag '{}'", tag.text));
  }
  stmt.line = line;
  return stmt;
}

Stmt Parser::ParseIf() {
  Stmt stmt;
  stmt.kind = StmtKind::kIf;
  while (true) {
    stmt.exprs.push_back(ParseTuple(false, false));
    stmt.bodies.push_back(ParseBlockBody({"elif", "else", "endif"}));
    const std::string end = Next().text;
    if (end == "elif") continue;
    if (end == "else") {
      stmt.bodies.push_back(ParseBlockBody({"endif"}));
      Next();
    }
    return stmt;
  }
}

Stmt Parser::ParseFor() {
  Stmt stmt;
  stmt.kind = StmtKind::kFor;
  stmt.targets.push_back(ParseTarget(false));
  ExpectName("in");
  stmt.exprs.push_back(ParseTuple(false, false, "recursive"));
  stmt.exprs.push_back(SkipName("if") ? ParseExpression() : nullptr);
  stmt.recursive = SkipName("recursive");
  ++loops_;
  stmt.bodies.push_back(ParseBlockBody({"endfor", "else"}));
  --loops_;
  if (Next().text == "else") {
    stmt.bodies.push_back(ParseBlockBody({"endfor"}));
    Next();
  }
  return stmt;
}

Stmt Parser::ParseSet() {
  Stmt stmt;
  stmt.targets.push_back(ParseTarget(true));
  if (SkipOperator("=")) {
    stmt.kind = StmtKind::kSet;
    stmt.exprs.push_back(ParseTuple(true, false));
    return stmt;
  }
  stmt.kind = StmtKind::kSetBlock;
  ExprPtr filter;
  while (IsOperator("|")) {
    Next();
    filter = ParseFilter(std::move(filter), true);
  }
  stmt.exprs.push_back(std::move(filter));
  stmt.bodies.push_back(ParseBlockBody({"endset"}));
  Next();
  return stmt;
}

Stmt Parser::ParseMacro() {
  Stmt stmt;
  stmt.kind = StmtKind::kMacro;
  stmt.name = ExpectKind(TokenKind::kName, "a macro name").text;
  stmt.symbol = Symbol(stmt.name);
  ParseSignature(stmt);
  const int loops = std::exchange(loops_, 0);
  macros_.push_back(&stmt);
  stmt.bodies.push_back(ParseBlockBody({"endmacro"}));
  macros_.pop_back();
  loops_ = loops;
  Next();
  return stmt;
}

Stmt Parser::ParseCallBlock() {
  Stmt stmt;
  stmt.kind = StmtKind::kCall;
  stmt.name = "caller";
  if (IsOperator("(")) ParseSignature(stmt);
  stmt.exprs.push_back(ParseExpression());
  if (stmt.exprs[0]->kind != ExprKind::kCall) Fail("expected call");
  const int loops = std::exchange(loops_, 0);
  macros_.push_back(&stmt);
  stmt.bodies.push_back(ParseBlockBody({"endcall"}));
  macros_.pop_back();
  loops_ = loops;
  Next();
  return stmt;
}

Stmt Parser::ParseFilterBlock() {
  Stmt stmt;
  stmt.kind = StmtKind::kFilter;
  ExprPtr filter = ParseFilter(nullptr, true);
  while (SkipOperator("|")) filter = ParseFilter(std::move(filter), true);
  stmt.exprs.push_back(std::move(filter));
  stmt.bodies.push_back(ParseBlockBody({"endfilter"}));
  Next();
  return stmt;
}

Stmt Parser::ParseWith() {
  Stmt stmt;
  stmt.kind = StmtKind::kWith;
  while (Current().kind != TokenKind::kBlockEnd) {
    if (!stmt.targets.empty()) ExpectOperator(",");
    stmt.targets.push_back(ParseSingleTarget(false));
    ExpectOperator("=");
    stmt.exprs.push_back(ParseExpression());
  }
  stmt.bodies.push_back(ParseBlockBody({"endwith"}));
  Next();
  return stmt;
}

Stmt Parser::ParseScope(std::string_view end, bool named) {
  Stmt stmt;
  stmt.kind = StmtKind::kScope;
  if (named) stmt.name = ExpectKind(TokenKind::kName, "a block name").text;
  SkipName("scoped");
  const int loops = std::exchange(loops_, 0);
  stmt.bodies.push_back(ParseBlockBody({end}));
  loops_ = loops;
  Next();
  if (named) SkipName(stmt.name);
  return stmt;
}

void Parser::ParseSignature(Stmt& stmt) {
  ExpectOperator("(");
  while (!IsOperator(")")) {
    if (!stmt.parameters.empty()) ExpectOperator(",");
    Parameter parameter;
    parameter.name = ExpectKind(TokenKind::kName, "a parameter name").text;
    parameter.symbol = Symbol(parameter.name);
    if (SkipOperator("=")) {
      parameter.fallback = ParseExpression();
    } else if (!stmt.parameters.empty() && stmt.parameters.back().fallback != nullptr) {
      Fail("non-default argument follows default argument");
    }
    stmt.parameters.push_back(std::move(parameter));
  }
  ExpectOperator(")");
}

Target Parser::ParseTarget(bool allow_attribute) {
  Target first = ParseSingleTarget(allow_attribute);
  if (!IsOperator(",")) return first;
  Target tuple;
  tuple.parts.push_back(std::move(first));
  while (SkipOperator(",")) {
    if (Current().kind != TokenKind::kName && !IsOperator("(")) break;
    if (IsName("in")) break;
    tuple.parts.push_back(ParseSingleTarget(allow_attribute));
  }
  return tuple;
}

Target Parser::ParseSingleTarget(bool allow_attribute) {
  const Nest nest(*this);
  if (SkipOperator("(")) {
    Target inner = ParseTarget(allow_attribute);
    ExpectOperator(")");
    return inner;
  }
  static constexpr std::string_view kConstants[] = {"true",  "false", "True",
                                                    "False", "none",  "None"};
  Target target;
  target.name = ExpectKind(TokenKind::kName, "a name to assign to").text;
  for (const std::string_view name : kConstants) {
    if (target.name == name) Fail("can't assign to 'const'");
  }
  target.symbol = Symbol(target.name);
  if (allow_attribute && SkipOperator(".")) {
    target.attribute = ExpectKind(TokenKind::kName, "an attribute name").text;
  }
  return target;
}

}  // namespace slipstream::jinja
