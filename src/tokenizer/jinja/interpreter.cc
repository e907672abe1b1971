#include "tokenizer/jinja/interpreter.h"

#include <fmt/core.h>

#include <algorithm>

namespace slipstream::jinja {
namespace {

constexpr int64_t kArenaObjectBytes = 128;

}  // namespace

const Value* LoopObject::At(size_t i) {
  while (items.size() <= i && next < source.size()) {
    Value& candidate = source[next++];
    if (!accepts || accepts(candidate)) items.push_back(std::move(candidate));
  }
  return i < items.size() ? &items[i] : nullptr;
}

size_t LoopObject::Count() {
  At(items.size() + source.size());
  return items.size();
}

Interpreter::Interpreter(const Tree& tree, Budget& budget, std::time_t now)
    : tree_(tree),
      budget_(budget),
      now_(now),
      loop_symbol_(SymbolOf("loop")),
      caller_symbol_(SymbolOf("caller")),
      varargs_symbol_(SymbolOf("varargs")),
      kwargs_symbol_(SymbolOf("kwargs")) {}

Interpreter::~Interpreter() {
  // Arena objects may refer to each other: empty all of them before any is freed.
  for (auto& scope : scopes_) scope->Clear();
  for (auto& ns : namespaces_) ns->items.clear();
}

int Interpreter::SymbolOf(std::string_view name) const {
  const auto it = std::find(tree_.symbols.begin(), tree_.symbols.end(), name);
  return it == tree_.symbols.end() ? -1 : static_cast<int>(it - tree_.symbols.begin());
}

std::string Interpreter::Render(const Inputs& inputs) {
  std::string out;
  out_ = &out;
  Scope* globals = NewScope(nullptr);
  for (size_t i = 0; i < tree_.symbols.size(); ++i) {
    Value value;
    if (inputs(tree_.symbols[i], value) || FindGlobal(tree_.symbols[i], value)) {
      globals->vars.emplace_back(static_cast<int>(i), std::move(value));
    }
  }
  scope_ = NewScope(globals);
  Run(tree_.body);
  return out;
}

Scope* Interpreter::NewScope(Scope* parent) {
  Scope* scope;
  if (!free_scopes_.empty()) {
    scope = free_scopes_.back();
    free_scopes_.pop_back();
  } else {
    budget_.Hold(kArenaObjectBytes);
    scopes_.push_back(std::make_unique<Scope>());
    scope = scopes_.back().get();
    scope->in_arena = true;
  }
  scope->parent = parent;
  return scope;
}

void Interpreter::DropScope(Scope* scope) {
  if (scope->captured) return;
  scope->Clear();
  free_scopes_.push_back(scope);
}

void Interpreter::Set(int symbol, Value value) {
  for (auto& [key, old] : scope_->vars) {
    if (key != symbol) continue;
    old = std::move(value);
    return;
  }
  scope_->vars.emplace_back(symbol, std::move(value));
}

const Value* Interpreter::Find(int symbol) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    for (const auto& [key, value] : scope->vars) {
      if (key == symbol) return &value;
    }
  }
  return nullptr;
}

void Interpreter::Emit(std::string_view text) {
  budget_.Hold(static_cast<int64_t>(text.size()));
  out_->append(text);
}

// Runs `body` in `scope` (already made) and returns its text.
std::string Interpreter::Capture(const Body& body, Scope* scope, Flow* flow) {
  std::string text;
  std::string* const outer_out = std::exchange(out_, &text);
  Scope* const outer_scope = std::exchange(scope_, scope);
  const Flow result = Run(body);
  if (flow != nullptr) *flow = result;
  scope_ = outer_scope;
  out_ = outer_out;
  DropScope(scope);
  budget_.Drop(static_cast<int64_t>(text.size()));
  return text;
}

Interpreter::Flow Interpreter::Run(const Body& body) {
  for (const Stmt& stmt : body) {
    const Flow flow = Run(stmt);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::Run(const Stmt& stmt) {
  budget_.Enter();
  Flow flow = Flow::kNext;
  switch (stmt.kind) {
    case StmtKind::kText:
      Emit(stmt.text);
      break;
    case StmtKind::kOutput: {
      const Value value = Eval(*stmt.exprs[0]);
      if (value.Is(Kind::kString)) {
        Emit(value.str());
      } else {
        Emit(ToStr(value));
      }
      break;
    }
    case StmtKind::kIf:
      flow = RunIf(stmt);
      break;
    case StmtKind::kFor:
      RunFor(stmt, Eval(*stmt.exprs[0]), 0);
      break;
    case StmtKind::kSet:
      Assign(stmt.targets[0], Eval(*stmt.exprs[0]));
      break;
    case StmtKind::kSetBlock: {
      Value text = Value::Str(Capture(stmt.bodies[0], NewScope(scope_), &flow));
      if (flow != Flow::kNext) break;
      if (stmt.exprs[0] != nullptr) text = EvalFilter(*stmt.exprs[0], &text);
      Assign(stmt.targets[0], std::move(text));
      break;
    }
    case StmtKind::kMacro:
      Set(stmt.symbol, NewMacro(stmt));
      break;
    case StmtKind::kCall:
      RunCallBlock(stmt);
      break;
    case StmtKind::kFilter: {
      const Value text = Value::Str(Capture(stmt.bodies[0], NewScope(scope_), &flow));
      if (flow == Flow::kNext) Emit(ToStr(EvalFilter(*stmt.exprs[0], &text)));
      break;
    }
    case StmtKind::kWith:
      RunWith(stmt);
      break;
    case StmtKind::kScope: {
      Scope* const outer = scope_;
      scope_ = NewScope(outer);
      Run(stmt.bodies[0]);
      DropScope(std::exchange(scope_, outer));
      break;
    }
    case StmtKind::kBreak:
      flow = Flow::kBreak;
      break;
    case StmtKind::kContinue:
      flow = Flow::kContinue;
      break;
  }
  budget_.Leave();
  return flow;
}

Interpreter::Flow Interpreter::RunIf(const Stmt& stmt) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    if (Truth(Eval(*stmt.exprs[i]))) return Run(stmt.bodies[i]);
  }
  return stmt.bodies.size() > stmt.exprs.size() ? Run(stmt.bodies.back()) : Flow::kNext;
}

void Interpreter::RunFor(const Stmt& stmt, const Value& iterable, int depth) {
  auto* loop = new LoopObject();
  const Value loop_value = Value::Of(Kind::kLoop, loop);
  loop->source = Iterate(iterable);
  RaiseNesting(*loop, loop->source);
  loop->Charge(kArenaObjectBytes + static_cast<int64_t>(loop->source.size() * sizeof(Value) * 2));
  loop->stmt = &stmt;
  loop->scope = scope_;
  loop->depth = depth;
  if (stmt.exprs[1] != nullptr) {
    loop->accepts = [this, &stmt, scope = scope_](const Value& item) {
      Scope* const outer = std::exchange(scope_, NewScope(scope));
      Assign(stmt.targets[0], item);
      const bool accepted = Truth(Eval(*stmt.exprs[1]));
      DropScope(std::exchange(scope_, outer));
      return accepted;
    };
  }
  const bool ran = RunLoop(stmt, *loop, loop_value);
  if (!ran && stmt.bodies.size() > 1) {
    Scope* const outer = scope_;
    scope_ = NewScope(outer);
    Run(stmt.bodies[1]);
    DropScope(std::exchange(scope_, outer));
  }
}

// Returns whether there was any element.
bool Interpreter::RunLoop(const Stmt& stmt, LoopObject& loop, const Value& loop_value) {
  Scope* const outer = scope_;
  size_t index = 0;
  for (; const Value* item = loop.At(index); ++index) {
    loop.index = index;
    scope_ = NewScope(outer);
    if (loop_symbol_ >= 0) Set(loop_symbol_, loop_value);
    Assign(stmt.targets[0], *item);
    const Flow flow = Run(stmt.bodies[0]);
    DropScope(std::exchange(scope_, outer));
    if (flow == Flow::kBreak) return true;
  }
  return index > 0;
}

void Interpreter::RunWith(const Stmt& stmt) {
  std::vector<Value> values;
  for (const ExprPtr& expr : stmt.exprs) values.push_back(Eval(*expr));
  Scope* const outer = scope_;
  scope_ = NewScope(outer);
  for (size_t i = 0; i < values.size(); ++i) Assign(stmt.targets[i], std::move(values[i]));
  Run(stmt.bodies[0]);
  DropScope(std::exchange(scope_, outer));
}

Value Interpreter::NewMacro(const Stmt& stmt) {
  budget_.Hold(kArenaObjectBytes);
  macros_.push_back(std::make_unique<MacroObject>());
  MacroObject* macro = macros_.back().get();
  macro->in_arena = true;
  macro->stmt = &stmt;
  macro->scope = scope_;
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) scope->captured = true;
  return Value::Of(Kind::kMacro, macro);
}

void Interpreter::RunCallBlock(const Stmt& stmt) {
  const Value caller = NewMacro(stmt);
  Emit(ToStr(EvalCall(*stmt.exprs[0], &caller)));
}

void Interpreter::BindParameters(const MacroObject& macro, CallArgs& args) {
  const Stmt& stmt = *macro.stmt;
  const size_t taken = std::min(args.positional.size(), stmt.parameters.size());
  for (size_t i = 0; i < stmt.parameters.size(); ++i) {
    const Parameter& parameter = stmt.parameters[i];
    const auto named = std::find_if(args.named.begin(), args.named.end(),
                                    [&](const auto& a) { return a.first == parameter.name; });
    if (i < taken) {
      Set(parameter.symbol, args.positional[i]);
    } else if (named != args.named.end()) {
      Set(parameter.symbol, std::move(named->second));
      args.named.erase(named);
    } else if (parameter.fallback != nullptr) {
      Set(parameter.symbol, Eval(*parameter.fallback));
    } else {
      Set(parameter.symbol,
          Value::Undefined(fmt::format("parameter '{}' was not provided", parameter.name)));
    }
  }
  if (stmt.has_caller) {
    const auto caller = std::find_if(args.named.begin(), args.named.end(),
                                     [](const auto& a) { return a.first == "caller"; });
    const bool given = caller != args.named.end();
    Set(caller_symbol_, given ? std::move(caller->second) : Value::Undefined("No caller defined"));
    if (given) args.named.erase(caller);
  }
  if (stmt.has_kwargs) {
    std::vector<std::pair<Value, Value>> items;
    for (auto& [name, value] : args.named) items.emplace_back(Value::Str(name), value);
    Set(kwargs_symbol_, Value::Dict(std::move(items)));
  } else if (!args.named.empty()) {
    Raise(fmt::format("macro '{}' takes no keyword argument '{}'", stmt.name, args.named[0].first));
  }
  const std::vector<Value> rest(args.positional.begin() + static_cast<long>(taken),
                                args.positional.end());
  if (stmt.has_varargs) {
    Set(varargs_symbol_, Value::List(rest, Kind::kTuple));
  } else if (!rest.empty()) {
    Raise(fmt::format("macro '{}' takes not more than {} argument(s)", stmt.name,
                      stmt.parameters.size()));
  }
}

Value Interpreter::CallMacro(MacroObject& macro, CallArgs& args) {
  budget_.Enter();
  Scope* const outer = scope_;
  Scope* const scope = NewScope(macro.scope);
  scope_ = scope;
  BindParameters(macro, args);
  scope_ = outer;
  Value result = Value::Str(Capture(macro.stmt->bodies[0], scope, nullptr));
  budget_.Leave();
  return result;
}

Value Interpreter::CallLoop(LoopObject& loop, CallArgs& args) {
  if (!loop.stmt->recursive) {
    Raise("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (args.positional.size() != 1) Raise("loop() takes one argument");
  budget_.Enter();
  std::string text;
  std::string* const outer_out = std::exchange(out_, &text);
  Scope* const outer_scope = std::exchange(scope_, loop.scope);
  RunFor(*loop.stmt, args.positional[0], loop.depth + 1);
  scope_ = outer_scope;
  out_ = outer_out;
  budget_.Drop(static_cast<int64_t>(text.size()));
  budget_.Leave();
  return Value::Str(std::move(text));
}

void Interpreter::Assign(const Target& target, Value value) {
  if (!target.parts.empty()) {
    std::vector<Value> items = Iterate(value);
    if (items.size() != target.parts.size()) {
      Raise(items.size() < target.parts.size()
                ? fmt::format("not enough values to unpack (expected {}, got {})",
                              target.parts.size(), items.size())
                : fmt::format("too many values to unpack (expected {})", target.parts.size()));
    }
    for (size_t i = 0; i < items.size(); ++i) Assign(target.parts[i], std::move(items[i]));
  } else if (!target.attribute.empty()) {
    const Value* ns = Find(target.symbol);
    if (ns == nullptr || !ns->Is(Kind::kNamespace)) {
      Raise("cannot assign attribute on non-namespace object");
    }
    ns->ns().Set(target.attribute, std::move(value));
  } else {
    Set(target.symbol, std::move(value));
  }
}

Value Interpreter::NewNamespace(CallArgs& args) {
  budget_.Hold(kArenaObjectBytes);
  namespaces_.push_back(std::make_unique<NamespaceObject>());
  NamespaceObject* ns = namespaces_.back().get();
  ns->in_arena = true;
  if (args.positional.size() > 1) Raise("namespace() takes at most one positional argument");
  if (!args.positional.empty()) {
    if (!args.positional[0].Is(Kind::kDict)) Raise("namespace() takes a dict");
    for (const auto& [key, value] : args.positional[0].dict().items) ns->Set(ToStr(key), value);
  }
  for (auto& [name, value] : args.named) ns->Set(name, std::move(value));
  return Value::Of(Kind::kNamespace, ns);
}

}  // namespace slipstream::jinja
