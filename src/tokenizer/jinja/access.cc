// Attributes and elements of values, bound methods, and arguments of built-in functions.
#include <fmt/core.h>

#include <algorithm>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text.h"

namespace slipstream::jinja {
namespace {

std::string ObjectName(const Value& value) {
  return value.Is(Kind::kNone) ? "None" : fmt::format("{} object", TypeName(value));
}

Value NoAttribute(const Value& object, const std::string& name) {
  return Value::Undefined(
      fmt::format("'{}' has no attribute {}", ObjectName(object), ReprStr(name)));
}

// The element `key` of `object` without looking at methods; false if there is none.
bool Subscript(const Value& object, const Value& key, Value& out) {
  switch (object.kind()) {
    case Kind::kDict: {
      const Value* found = object.dict().Find(key);
      if (found != nullptr) out = *found;
      return found != nullptr;
    }
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange: {
      if (!key.IsIntegral()) return false;
      const int64_t length = Length(object);
      const int64_t index = key.integer() < 0 ? key.integer() + length : key.integer();
      if (index < 0 || index >= length) return false;
      if (!object.Is(Kind::kString)) {
        out = object.items()[static_cast<size_t>(index)];
        return true;
      }
      const std::string& text = object.str();
      const size_t begin = ByteOffset(text, index);
      size_t end = begin;
      NextChar(text, end);
      out = Value::Str(text.substr(begin, end - begin), object.markup());
      return true;
    }
    default:
      return false;
  }
}

Value LoopCycle(Interpreter&, const Value& self, CallArgs& args) {
  if (args.positional.empty()) Raise("no items for cycling given");
  return args.positional[self.loop().index % args.positional.size()];
}

Value LoopChanged(Interpreter&, const Value& self, CallArgs& args) {
  LoopObject& loop = self.loop();
  Value now = Value::List(std::move(args.positional), Kind::kTuple);
  const bool same = loop.has_changed && Equal(loop.last_changed, now);
  // The loop must not be reachable from what it remembers, or neither would ever be freed.
  for (const Value& item : now.items()) {
    if (item.kind() > Kind::kString) Raise("loop.changed() takes plain values");
  }
  loop.has_changed = true;
  loop.last_changed = std::move(now);
  return Value::Bool(!same);
}

}  // namespace

MacroObject& Value::macro() const { return *static_cast<MacroObject*>(data_.object); }
LoopObject& Value::loop() const { return *static_cast<LoopObject*>(data_.object); }

Value MakeBoundMethod(const Value& self, Method function, const std::string& name) {
  auto* bound = new CallableObject();
  Value value = Value::Of(Kind::kCallable, bound);
  bound->function = function;
  bound->name = name;
  bound->self = self;
  RaiseNesting(*bound, {self});
  bound->Charge(64);
  return value;
}

Value Interpreter::GetLoopAttr(const Value& object, const std::string& name) {
  LoopObject& loop = object.loop();
  const auto index = static_cast<int64_t>(loop.index);
  if (name == "index") return Value::Int(index + 1);
  if (name == "index0") return Value::Int(index);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(loop.At(loop.index + 1) == nullptr);
  if (name == "length") return Value::Int(static_cast<int64_t>(loop.Count()));
  if (name == "revindex") return Value::Int(static_cast<int64_t>(loop.Count()) - index);
  if (name == "revindex0") return Value::Int(static_cast<int64_t>(loop.Count()) - index - 1);
  if (name == "depth") return Value::Int(loop.depth + 1);
  if (name == "depth0") return Value::Int(loop.depth);
  if (name == "previtem") {
    return index > 0 ? *loop.At(loop.index - 1) : Value::Undefined("there is no previous item");
  }
  if (name == "nextitem") {
    const Value* next = loop.At(loop.index + 1);
    return next != nullptr ? *next : Value::Undefined("there is no next item");
  }
  if (name == "cycle") return MakeBoundMethod(object, LoopCycle, name);
  if (name == "changed") return MakeBoundMethod(object, LoopChanged, name);
  return NoAttribute(object, name);
}

Value Interpreter::GetAttr(const Value& object, const std::string& name) {
  RequireDefined(object);
  if (object.Is(Kind::kLoop)) return GetLoopAttr(object, name);
  if (object.Is(Kind::kNamespace)) {
    const Value* found = object.ns().Find(name);
    return found != nullptr ? *found : NoAttribute(object, name);
  }
  if (object.Is(Kind::kMacro) && name == "name") return Value::Str(object.macro().stmt->name);
  if (const Method method = FindMethod(object, name)) return MakeBoundMethod(object, method, name);
  if (IsForbiddenMethod(object, name)) {
    return Value::Undefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, TypeName(object)));
  }
  if (object.Is(Kind::kDict)) {
    if (const Value* found = object.dict().Find(name)) return *found;
  }
  return NoAttribute(object, name);
}

Value Interpreter::GetItem(const Value& object, const Value& key) {
  RequireDefined(object);
  Value element;
  if (Subscript(object, key, element)) return element;
  if (key.Is(Kind::kString)) return GetAttr(object, key.str());
  if (key.Is(Kind::kUndefined)) {
    return Value::Undefined(fmt::format("{} has no element Undefined", ObjectName(object)));
  }
  return Value::Undefined(fmt::format("{} has no element {}", ObjectName(object), Repr(key)));
}

ArgReader::ArgReader(CallArgs& args, std::string_view function, std::vector<std::string_view> names)
    : function_(function), names_(std::move(names)), values_(names_.size(), nullptr) {
  if (args.positional.size() > names_.size()) {
    Raise(fmt::format("{}() takes at most {} arguments ({} given)", function, names_.size(),
                      args.positional.size()));
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.named) {
    const auto it = std::find(names_.begin(), names_.end(), name);
    const auto i = static_cast<size_t>(it - names_.begin());
    if (it == names_.end() || values_[i] != nullptr) {
      Raise(fmt::format("{}() got an unexpected keyword argument '{}'", function, name));
    }
    values_[i] = &value;
  }
}

const Value& ArgReader::Require(size_t i) const {
  if (values_[i] == nullptr) {
    Raise(fmt::format("{}() missing the argument '{}'", function_, names_[i]));
  }
  return *values_[i];
}

bool ArgReader::Bool(size_t i, bool fallback) const {
  return values_[i] == nullptr ? fallback : Truth(*values_[i]);
}

int64_t ArgReader::Int(size_t i, int64_t fallback) const {
  if (values_[i] == nullptr || values_[i]->Is(Kind::kNone)) return fallback;
  RequireDefined(*values_[i]);
  if (!values_[i]->IsIntegral()) {
    Raise(fmt::format("{}() needs an integer as '{}'", function_, names_[i]));
  }
  return values_[i]->integer();
}

std::string ArgReader::Str(size_t i, std::string_view fallback) const {
  return values_[i] == nullptr ? std::string(fallback) : ToStr(*values_[i]);
}

}  // namespace slipstream::jinja
