// What: the syntax tree of a template. Expressions and statements are two plain node types that
//   the interpreter switches over; content_format.cc walks them too.
// Owner: Template owns the tree; it is const once parsed and shared by threads.
// Fails: never by itself; the parser bounds its depth.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/value.h"

namespace slipstream::jinja {

enum class ExprKind : uint8_t {
  kConst,    // value
  kName,     // name, symbol
  kList,     // kids
  kTuple,    // kids
  kDict,     // kids: key, value, key, value, ...
  kGetAttr,  // kids[0].name
  kGetItem,  // kids[0][kids[1]]
  kSlice,    // kids[0..2], each may be null; only inside kGetItem
  kCall,     // kids[0](arguments)
  kFilter,   // kids[0] | name(arguments); kids[0] is null in filter blocks
  kTest,     // kids[0] is name(arguments)
  kNot,
  kNegate,
  kPlus,
  kBinary,   // kids[0] name kids[1], name being the operator
  kCompare,  // kids[0] operators[0] kids[1] operators[1] kids[2] ...
  kAnd,
  kOr,
  kConditional,  // kids[0] if kids[1] else kids[2] (may be null)
  kConcat,       // kids joined with ~
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr list;     // *args
  ExprPtr mapping;  // **kwargs
};

struct Expr {
  ExprKind kind;
  int line = 0;
  int depth = 1;
  int symbol = -1;
  std::string name;
  Value value;
  std::vector<ExprPtr> kids;
  std::vector<std::string> operators;
  std::unique_ptr<Arguments> arguments;
};

// Where set and for put values: a name, a namespace attribute, or several of these.
struct Target {
  int symbol = -1;
  std::string name;
  std::string attribute;      // of the namespace `name`, if not empty
  std::vector<Target> parts;  // not empty: unpack
};

enum class StmtKind : uint8_t {
  kText,      // text
  kOutput,    // exprs[0]
  kIf,        // exprs[i] guards bodies[i]; a last body without guard is else
  kFor,       // targets[0] in exprs[0] if exprs[1] (may be null); bodies: loop, else
  kSet,       // targets[0] = exprs[0]
  kSetBlock,  // targets[0] = bodies[0] through the filters exprs[0] (may be null)
  kMacro,     // name, symbol, parameters; bodies[0]
  kCall,      // exprs[0] is the call, bodies[0] its caller with parameters
  kFilter,    // bodies[0] through the filters exprs[0]
  kWith,      // targets[i] = exprs[i]; bodies[0]
  kScope,     // block and generation: bodies[0] in a scope of its own
  kBreak,
  kContinue,
};

struct Stmt;
using Body = std::vector<Stmt>;

struct Parameter {
  int symbol;
  std::string name;
  ExprPtr fallback;  // may be null
};

struct Stmt {
  StmtKind kind = StmtKind::kText;
  int line = 0;
  int symbol = -1;
  std::string name;
  std::string text;
  std::vector<ExprPtr> exprs;
  std::vector<Target> targets;
  std::vector<Body> bodies;
  std::vector<Parameter> parameters;
  bool recursive = false;                                            // for
  bool has_varargs = false, has_kwargs = false, has_caller = false;  // macro: names its body uses
};

struct Tree {
  Body body;
  std::vector<std::string> symbols;  // by number
};

Tree ParseTemplate(const std::string& source);

}  // namespace slipstream::jinja
