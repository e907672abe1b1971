// What: recursive descent parser of templates, after Jinja2's grammar; private to jinja/.
// Owner: one Parser per ParseTemplate. Thread: any. Fails: throws jinja::Error naming the line;
//   nesting is bounded so that no template can exhaust the stack.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/lexer.h"

namespace slipstream::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens);
  Tree Parse();

 private:
  // parser.cc: statements.
  Body ParseBody(const std::vector<std::string_view>& ends);
  Body ParseBlockBody(const std::vector<std::string_view>& ends);
  Stmt ParseStatement();
  Stmt ParseIf();
  Stmt ParseFor();
  Stmt ParseSet();
  Stmt ParseMacro();
  Stmt ParseCallBlock();
  Stmt ParseFilterBlock();
  Stmt ParseWith();
  Stmt ParseScope(std::string_view end, bool named);
  void ParseSignature(Stmt& stmt);
  Target ParseTarget(bool allow_attribute);
  Target ParseSingleTarget(bool allow_attribute);

  // parser_expression.cc.
  ExprPtr ParseExpression() { return ParseConditional(); }
  ExprPtr ParseTuple(bool with_conditional, bool parenthesized, std::string_view end_name = {});
  ExprPtr ParseConditional();
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filters);
  ExprPtr ParsePrimary();
  ExprPtr ParseNumber();
  ExprPtr ParseList();
  ExprPtr ParseDict();
  ExprPtr ParsePostfix(ExprPtr node);
  ExprPtr ParseFilters(ExprPtr node);
  ExprPtr ParseFilter(ExprPtr node, bool inside_block);
  ExprPtr ParseTest(ExprPtr node);
  ExprPtr ParseSubscript(ExprPtr node);
  ExprPtr ParseSubscribed();
  ExprPtr ParseCall(ExprPtr node);
  std::unique_ptr<Arguments> ParseArguments(int& depth);
  std::string ParseDottedName();

  ExprPtr Make(ExprKind kind, int line) const;
  ExprPtr Make(ExprKind kind, int line, ExprPtr a, ExprPtr b = nullptr) const;
  void Adopt(Expr& parent, ExprPtr kid) const;
  void CheckDepth(int depth) const;

  const Token& Current() const { return tokens_[pos_]; }
  const Token& Ahead() const { return tokens_[std::min(pos_ + 1, tokens_.size() - 1)]; }
  Token Next();
  bool IsOperator(std::string_view op) const;
  bool IsName(std::string_view name) const;
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  void ExpectOperator(std::string_view op);
  void ExpectName(std::string_view name);
  Token ExpectKind(TokenKind kind, std::string_view what);
  [[noreturn]] void Fail(std::string_view what) const;
  int Symbol(const std::string& name);

  // Bounds recursion; one per nested construct.
  class Nest {
   public:
    explicit Nest(Parser& parser);
    ~Nest() { --parser_.nesting_; }

   private:
    Parser& parser_;
  };

  std::vector<Token> tokens_;
  size_t pos_ = 0;
  int nesting_ = 0;
  int loops_ = 0;  // enclosing for loops
  std::vector<std::string> symbols_;
  std::unordered_map<std::string, int> symbol_numbers_;
  std::vector<Stmt*> macros_;  // enclosing ones, to note the special names they use
};

}  // namespace slipstream::jinja
