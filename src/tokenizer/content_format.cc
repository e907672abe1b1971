#include "tokenizer/content_format.h"

#include <algorithm>
#include <functional>
#include <string_view>

namespace slipstream::jinja {
namespace {

using Names = std::vector<std::string>;

// Is `expr` the variable `name` or its member `key`, perhaps filtered, tested or sliced?
bool IsAccess(const Expr* expr, std::string_view name, std::string_view key) {
  if (expr == nullptr) return false;
  switch (expr->kind) {
    case ExprKind::kFilter:
    case ExprKind::kTest:
      return !expr->kids.empty() && IsAccess(expr->kids[0].get(), name, key);
    case ExprKind::kName:
      return key.empty() && expr->name == name;
    case ExprKind::kGetAttr:
      return !key.empty() && expr->name == key && IsAccess(expr->kids[0].get(), name, {});
    case ExprKind::kGetItem: {
      const Expr& index = *expr->kids[1];
      if (index.kind == ExprKind::kSlice) return IsAccess(expr->kids[0].get(), name, key);
      return !key.empty() && index.kind == ExprKind::kConst && index.value.Is(Kind::kString) &&
             index.value.str() == key && IsAccess(expr->kids[0].get(), name, {});
    }
    default:
      return false;
  }
}

void VisitStatements(const Body& body, const std::function<void(const Stmt&)>& visit) {
  for (const Stmt& stmt : body) {
    visit(stmt);
    for (const Body& inner : stmt.bodies) VisitStatements(inner, visit);
  }
}

bool AnyExpr(const Expr* expr, const std::function<bool(const Expr&)>& accepts) {
  if (expr == nullptr) return false;
  if (accepts(*expr)) return true;
  for (const ExprPtr& kid : expr->kids) {
    if (AnyExpr(kid.get(), accepts)) return true;
  }
  if (expr->arguments == nullptr) return false;
  const auto any = [&](const ExprPtr& e) { return AnyExpr(e.get(), accepts); };
  const Arguments& arguments = *expr->arguments;
  return std::any_of(arguments.positional.begin(), arguments.positional.end(), any) ||
         std::any_of(arguments.named.begin(), arguments.named.end(),
                     [&](const auto& named) { return any(named.second); }) ||
         any(arguments.list) || any(arguments.mapping);
}

void AddOnce(Names& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

// Variables that hold the messages or a part of them.
Names MessageLists(const Tree& tree) {
  Names lists = {"messages"};
  for (size_t i = 0; i < lists.size(); ++i) {
    VisitStatements(tree.body, [&](const Stmt& stmt) {
      const bool plain = stmt.kind == StmtKind::kSet && stmt.targets[0].symbol >= 0 &&
                         stmt.targets[0].attribute.empty();
      if (plain && IsAccess(stmt.exprs[0].get(), lists[i], {}))
        AddOnce(lists, stmt.targets[0].name);
    });
  }
  return lists;
}

bool IsContent(const Expr& expr) {
  if (expr.kind == ExprKind::kGetAttr) return expr.name == "content";
  return expr.kind == ExprKind::kGetItem && expr.kids[1]->kind == ExprKind::kConst &&
         expr.kids[1]->value.Is(Kind::kString) && expr.kids[1]->value.str() == "content";
}

}  // namespace

bool LoopsOverContent(const Tree& tree) {
  const Names lists = MessageLists(tree);
  Names items;
  const auto loops_over = [](const Stmt& stmt, const Names& names, std::string_view key) {
    return stmt.kind == StmtKind::kFor && stmt.targets[0].symbol >= 0 &&
           std::any_of(names.begin(), names.end(), [&](const std::string& name) {
             return IsAccess(stmt.exprs[0].get(), name, key);
           });
  };
  VisitStatements(tree.body, [&](const Stmt& stmt) {
    if (loops_over(stmt, lists, {})) AddOnce(items, stmt.targets[0].name);
  });
  bool found = false;
  VisitStatements(tree.body,
                  [&](const Stmt& stmt) { found |= loops_over(stmt, items, "content"); });
  return found;
}

bool TestsContentForNone(const Tree& tree) {
  bool found = false;
  VisitStatements(tree.body, [&](const Stmt& stmt) {
    for (const ExprPtr& expr : stmt.exprs) {
      found |= AnyExpr(expr.get(), [](const Expr& e) {
        if (e.kind == ExprKind::kTest) return e.name == "none" && IsContent(*e.kids[0]);
        if (e.kind != ExprKind::kCompare || e.kids.size() != 2) return false;
        const auto none = [](const Expr& k) {
          return k.kind == ExprKind::kConst && k.value.Is(Kind::kNone);
        };
        return (none(*e.kids[1]) && IsContent(*e.kids[0])) ||
               (none(*e.kids[0]) && IsContent(*e.kids[1]));
      });
    }
  });
  return found;
}

}  // namespace slipstream::jinja
