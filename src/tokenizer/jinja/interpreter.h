// What: renders a parsed template: scopes, statements, expressions, calls. One object per
//   rendering; the tree it reads is shared and const.
// Owner: the Interpreter owns its arena (scopes, namespaces, macros), freed when it ends.
// Thread: one. Fails: throws jinja::Error; every loop and allocation is paid from the Budget.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/value.h"

namespace slipstream::jinja {

struct Scope : Object {
  void Clear() { vars.clear(); }
  Scope* parent = nullptr;
  bool captured = false;  // a macro refers to it: keep it to the end
  std::vector<std::pair<int, Value>> vars;
};

struct MacroObject : Object {
  const Stmt* stmt = nullptr;
  Scope* scope = nullptr;
};

// The state of a for loop; elements that a condition filters are found when they are needed.
struct LoopObject : Object {
  const Value* At(size_t index);  // null past the end
  size_t Count();
  std::vector<Value> source;  // elements not looked at yet, from `next` on
  size_t next = 0;
  std::function<bool(const Value&)> accepts;  // empty: everything
  std::vector<Value> items;
  size_t index = 0;
  int depth = 0;
  const Stmt* stmt = nullptr;
  Scope* scope = nullptr;  // around the loop
  Value last_changed;
  bool has_changed = false;
};

class Interpreter {
 public:
  // Looks up an input variable or global by name; null if there is none.
  using Inputs = std::function<bool(const std::string& name, Value& value)>;

  Interpreter(const Tree& tree, Budget& budget, std::time_t now);
  ~Interpreter();
  std::string Render(const Inputs& inputs);

  // For filters, tests and methods.
  Value Call(const Value& callee, CallArgs& args);
  Value GetAttr(const Value& object, const std::string& name);
  Value GetItem(const Value& object, const Value& key);
  Value NewNamespace(CallArgs& args);
  Budget& budget() { return budget_; }
  std::time_t now() const { return now_; }

 private:
  enum class Flow { kNext, kBreak, kContinue };

  // interpreter.cc: statements.
  Flow Run(const Body& body);
  Flow Run(const Stmt& stmt);
  Flow RunIf(const Stmt& stmt);
  void RunFor(const Stmt& stmt, const Value& iterable, int depth);
  bool RunLoop(const Stmt& stmt, LoopObject& loop, const Value& loop_value);
  void RunCallBlock(const Stmt& stmt);
  void RunWith(const Stmt& stmt);
  std::string Capture(const Body& body, Scope* scope, Flow* flow);
  Value CallMacro(MacroObject& macro, CallArgs& args);
  void BindParameters(const MacroObject& macro, CallArgs& args);
  Value CallLoop(LoopObject& loop, CallArgs& args);
  void Assign(const Target& target, Value value);
  void Emit(std::string_view text);

  Scope* NewScope(Scope* parent);
  void DropScope(Scope* scope);
  void Set(int symbol, Value value);
  const Value* Find(int symbol) const;
  int SymbolOf(std::string_view name) const;
  Value NewMacro(const Stmt& stmt);

  // evaluate.cc: expressions.
  Value Eval(const Expr& expr);
  Value EvalNode(const Expr& expr);
  Value EvalItems(const Expr& expr);
  Value EvalCompare(const Expr& expr);
  Value EvalConcat(const Expr& expr);
  Value EvalSlice(const Value& object, const Expr& slice);
  Value EvalCall(const Expr& expr, const Value* caller);
  void ChargeMethod(const Value& self, const CallArgs& args);
  Value EvalFilter(const Expr& expr, const Value* input);
  bool EvalTest(const Expr& expr);
  CallArgs EvalArguments(const Arguments* arguments);
  Value GetLoopAttr(const Value& object, const std::string& name);

  const Tree& tree_;
  Budget& budget_;
  std::time_t now_;
  std::vector<std::unique_ptr<Scope>> scopes_;
  std::vector<Scope*> free_scopes_;
  std::vector<std::unique_ptr<NamespaceObject>> namespaces_;
  std::vector<std::unique_ptr<MacroObject>> macros_;
  Scope* scope_ = nullptr;
  std::string* out_ = nullptr;
  int loop_symbol_, caller_symbol_, varargs_symbol_, kwargs_symbol_;
};

// filters.cc, tests.cc, methods.cc, functions.cc: tables by name; null if there is none.
using Filter = Value (*)(Interpreter&, const Value& input, CallArgs& args);
using Test = bool (*)(Interpreter&, const Value& input, CallArgs& args);
Filter FindFilter(const std::string& name);
Test FindTest(const std::string& name);
Method FindMethod(const Value& object, const std::string& name);
bool FindGlobal(const std::string& name, Value& value);
// Methods that would change a list or dict, which the sandbox forbids.
bool IsForbiddenMethod(const Value& object, const std::string& name);

// operators.cc.
Value BinaryOperation(const std::string& op, const Value& a, const Value& b);
Value Negate(const Value& value);
// format.cc: Python's `text % args` and text.format(...).
Value FormatPercent(const Value& text, const Value& args);
Value FormatBraces(Interpreter& interpreter, const Value& text, CallArgs& args);
Value MakeBoundMethod(const Value& self, Method function, const std::string& name);

// Arguments of a filter, test, method or function by position or name.
class ArgReader {
 public:
  ArgReader(CallArgs& args, std::string_view function, std::vector<std::string_view> names);
  const Value* Get(size_t i) const { return values_[i]; }
  bool Has(size_t i) const { return values_[i] != nullptr; }
  const Value& Require(size_t i) const;
  bool Bool(size_t i, bool fallback) const;
  int64_t Int(size_t i, int64_t fallback) const;
  std::string Str(size_t i, std::string_view fallback) const;

 private:
  std::string function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

}  // namespace slipstream::jinja
