#include "tokenizer/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/text.h"

namespace slipstream::jinja {
namespace {

thread_local Budget* current_budget = nullptr;

constexpr int64_t kObjectBytes = 64;

uint8_t NestingAbove(uint8_t deepest) {
  if (deepest + 1 > Limits::kNesting) Raise("lists or dicts are nested too deeply");
  return static_cast<uint8_t>(deepest + 1);
}

uint8_t NestingOf(const Value& value) {
  return value.Is(Kind::kList) || value.Is(Kind::kTuple) || value.Is(Kind::kDict) ||
                 value.Is(Kind::kView) || value.Is(Kind::kGenerator) || value.Is(Kind::kCallable) ||
                 value.Is(Kind::kLoop)
             ? value.object()->nesting
             : 0;
}

}  // namespace

void Raise(std::string message) { throw Error{std::move(message), false}; }

void RaiseNesting(Object& object, const std::vector<Value>& contained) {
  uint8_t deepest = 0;
  for (const Value& value : contained) deepest = std::max(deepest, NestingOf(value));
  object.nesting = NestingAbove(deepest);
}

Budget* CurrentBudget() { return current_budget; }
BudgetScope::BudgetScope(Budget* budget) : previous_(std::exchange(current_budget, budget)) {}
BudgetScope::~BudgetScope() { current_budget = previous_; }

Object::~Object() {
  if (budget_ != nullptr) budget_->Drop(bytes_);
}

void Object::Charge(int64_t bytes) {
  if (current_budget == nullptr) return;
  current_budget->Hold(bytes);
  budget_ = current_budget;
  bytes_ += bytes;
}

Value Value::Bool(bool value) {
  Value v;
  v.kind_ = Kind::kBool;
  v.data_.integer = value ? 1 : 0;
  return v;
}

Value Value::Int(int64_t value) {
  Value v;
  v.kind_ = Kind::kInt;
  v.data_.integer = value;
  return v;
}

Value Value::Uint(uint64_t value) {
  Value v = Int(static_cast<int64_t>(value));
  if (v.data_.integer < 0) v.kind_ = Kind::kUint;
  return v;
}

Value Value::Float(double value) {
  Value v;
  v.kind_ = Kind::kFloat;
  v.data_.number = value;
  return v;
}

Value Value::Of(Kind kind, Object* object) {
  Value v;
  v.kind_ = kind;
  v.data_.object = object;
  v.Retain();
  return v;
}

Value Value::Str(std::string text, bool markup) {
  const auto bytes = static_cast<int64_t>(text.size());
  Value v = Of(Kind::kString, new StrObject(std::move(text)));
  v.markup_ = markup;
  v.data_.object->Charge(bytes + kObjectBytes);
  return v;
}

Value Value::Undefined(std::string message) {
  return Of(Kind::kUndefined, new StrObject(std::move(message)));
}

Value Value::List(std::vector<Value> items, Kind kind) {
  auto* list = new ListObject();
  Value v = Of(kind, list);
  RaiseNesting(*list, items);
  list->items = std::move(items);
  list->Charge(kObjectBytes + static_cast<int64_t>(list->items.size() * sizeof(Value)));
  return v;
}

Value Value::Tuple(Value a, Value b) {
  std::vector<Value> items;
  items.reserve(2);
  items.push_back(std::move(a));
  items.push_back(std::move(b));
  return List(std::move(items), Kind::kTuple);
}

Value Value::Dict(std::vector<std::pair<Value, Value>> items) {
  uint8_t deepest = 0;
  for (const auto& [key, item] : items) {
    const bool hashable = key.kind() <= Kind::kString || key.Is(Kind::kTuple);
    if (!hashable) Raise(std::string("unhashable type: '") + std::string(TypeName(key)) + "'");
    deepest = std::max(deepest, NestingOf(item));
  }
  auto* dict = new DictObject();
  Value v = Of(Kind::kDict, dict);
  dict->nesting = NestingAbove(deepest);
  dict->items.reserve(items.size());
  for (auto& [key, item] : items) {
    if (const Value* old = dict->Find(key)) {
      *const_cast<Value*>(old) = std::move(item);
    } else {
      dict->items.emplace_back(std::move(key), std::move(item));
    }
  }
  dict->Charge(kObjectBytes + static_cast<int64_t>(dict->items.size() * 2 * sizeof(Value)));
  return v;
}

double Value::AsDouble() const {
  if (kind_ == Kind::kFloat) return data_.number;
  if (kind_ == Kind::kUint) return static_cast<double>(uint());
  return static_cast<double>(data_.integer);
}

const std::string& Value::str() const { return static_cast<const StrObject*>(data_.object)->text; }
ListObject& Value::list_object() const { return *static_cast<ListObject*>(data_.object); }
const std::vector<Value>& Value::items() const { return list_object().items; }
const DictObject& Value::dict() const { return *static_cast<const DictObject*>(data_.object); }
NamespaceObject& Value::ns() const { return *static_cast<NamespaceObject*>(data_.object); }
const CallableObject& Value::callable() const {
  return *static_cast<const CallableObject*>(data_.object);
}

const Value* DictObject::Find(const Value& key) const {
  if (key.Is(Kind::kString)) return Find(key.str());
  if (Budget* budget = CurrentBudget()) budget->Step(static_cast<int64_t>(items.size()) / 8);
  for (const auto& [k, v] : items) {
    if (Equal(k, key)) return &v;
  }
  return nullptr;
}

const Value* DictObject::Find(std::string_view key) const {
  if (Budget* budget = CurrentBudget()) budget->Step(static_cast<int64_t>(items.size()) / 8);
  for (const auto& [k, v] : items) {
    if (k.Is(Kind::kString) && k.str() == key) return &v;
  }
  return nullptr;
}

const Value* NamespaceObject::Find(std::string_view name) const {
  for (const auto& [k, v] : items) {
    if (k == name) return &v;
  }
  return nullptr;
}

void NamespaceObject::Set(const std::string& name, Value value) {
  for (auto& [k, v] : items) {
    if (k != name) continue;
    v = std::move(value);
    return;
  }
  Charge(static_cast<int64_t>(name.size() + sizeof(Value) + kObjectBytes));
  items.emplace_back(name, std::move(value));
}

std::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kUint:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.markup() ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kRange:
      return "range";
    case Kind::kView:
      return value.list_object().type_name;
    case Kind::kGenerator:
      return "generator";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kMacro:
      return "Macro";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCallable:
      return "function";
  }
  return "object";
}

void RequireDefined(const Value& value) {
  if (value.Is(Kind::kUndefined)) Raise(value.str());
}

bool Truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.AsDouble() != 0;
    case Kind::kString:
      return !value.str().empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return !value.items().empty();
    case Kind::kDict:
      return !value.dict().items.empty();
    default:
      return true;
  }
}

int64_t Length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      if (Budget* budget = CurrentBudget()) {
        budget->Step(static_cast<int64_t>(value.str().size()) / 64);
      }
      return CharCount(value.str());
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return static_cast<int64_t>(value.items().size());
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().items.size());
    default:
      Raise("object of type '" + std::string(TypeName(value)) + "' has no len()");
  }
}

bool Iterable(const Value& value) {
  return value.Is(Kind::kUndefined) ||
         (value.kind() >= Kind::kString && value.kind() <= Kind::kDict) || value.Is(Kind::kLoop);
}

std::vector<Value> Iterate(const Value& value) {
  std::vector<Value> out;
  Budget* budget = CurrentBudget();
  switch (value.kind()) {
    case Kind::kUndefined:
      return out;
    case Kind::kString: {
      const std::string& text = value.str();
      for (size_t pos = 0; pos < text.size();) {
        const size_t start = pos;
        NextChar(text, pos);
        out.push_back(Value::Str(text.substr(start, pos - start)));
      }
      break;
    }
    case Kind::kDict:
      for (const auto& [key, item] : value.dict().items) out.push_back(key);
      break;
    case Kind::kGenerator: {
      ListObject& list = value.list_object();
      if (!std::exchange(list.walked, true)) out.swap(list.items);
      break;
    }
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      out = value.items();
      break;
    default:
      Raise("'" + std::string(TypeName(value)) + "' object is not iterable");
  }
  if (budget != nullptr) budget->Step(static_cast<int64_t>(out.size()));
  return out;
}

bool Equal(const Value& a, const Value& b) {
  if (Budget* budget = CurrentBudget()) budget->Step();
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsIntegral() && b.IsIntegral()) return a.integer() == b.integer();
    if (a.Is(Kind::kUint) && b.Is(Kind::kUint)) return a.uint() == b.uint();
    return a.AsDouble() == b.AsDouble();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      if (a.str().size() != b.str().size()) return false;
      if (Budget* budget = CurrentBudget()) {
        budget->Step(static_cast<int64_t>(a.str().size()) / 64);
      }
      return a.str() == b.str();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        Equal);
    case Kind::kDict:
      if (a.dict().items.size() != b.dict().items.size()) return false;
      return std::all_of(a.dict().items.begin(), a.dict().items.end(), [&](const auto& item) {
        const Value* other = b.dict().Find(item.first);
        return other != nullptr && Equal(item.second, *other);
      });
    default:
      return a.object() == b.object();
  }
}

int Compare(const Value& a, const Value& b, std::string_view op) {
  RequireDefined(a);
  RequireDefined(b);
  const auto order = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; };
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsIntegral() && b.IsIntegral()) return order(a.integer(), b.integer());
    return order(a.AsDouble(), b.AsDouble());
  }
  if (a.Is(Kind::kString) && b.Is(Kind::kString)) {
    return a.str().compare(b.str()) < 0 ? -1 : a.str() == b.str() ? 0 : 1;
  }
  const bool lists = a.kind() == b.kind() && (a.Is(Kind::kList) || a.Is(Kind::kTuple));
  if (!lists) {
    Raise("'" + std::string(op) + "' not supported between instances of '" +
          std::string(TypeName(a)) + "' and '" + std::string(TypeName(b)) + "'");
  }
  const size_t common = std::min(a.items().size(), b.items().size());
  for (size_t i = 0; i < common; ++i) {
    if (!Equal(a.items()[i], b.items()[i])) return Compare(a.items()[i], b.items()[i], op);
  }
  return order(a.items().size(), b.items().size());
}

bool Contains(const Value& container, const Value& item) {
  if (container.Is(Kind::kString)) {
    RequireDefined(item);
    if (!item.Is(Kind::kString)) {
      Raise("'in <string>' requires string as left operand, not " + std::string(TypeName(item)));
    }
    if (Budget* budget = CurrentBudget()) {
      budget->Step(SearchSteps(container.str().size(), item.str().size()));
    }
    return container.str().find(item.str()) != std::string::npos;
  }
  if (container.Is(Kind::kDict)) return container.dict().Find(item) != nullptr;
  if (container.IsListLike() || container.Is(Kind::kView)) {
    const auto& items = container.items();
    return std::any_of(items.begin(), items.end(), [&](const Value& v) { return Equal(v, item); });
  }
  if (!Iterable(container)) {
    Raise("argument of type '" + std::string(TypeName(container)) + "' is not iterable");
  }
  const std::vector<Value> items = Iterate(container);
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return Equal(v, item); });
}

}  // namespace slipstream::jinja
