// What: the values a chat template computes with (Python's None, bool, int, float, str, list, dict,
//   ... as Jinja2 sees them) and the budget that bounds one rendering.
// Owner: containers and strings are reference counted; namespaces, macros, scopes and loops, which
//   can form cycles, live in the Arena of one rendering. Values are immutable but for Namespace.
// Thread: one rendering is one thread; constants of a parsed template are shared (atomic counts).
// Fails: by throwing jinja::Error, which never leaves src/tokenizer (chat_template.cc catches it).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipstream::jinja {

// An error of the template or of its input. `raised` marks the template's own raise_exception.
struct Error {
  std::string message;
  bool raised = false;
};
[[noreturn]] void Raise(std::string message);

enum class Kind : uint8_t {
  kUndefined,  // object: the message to fail with, a StrObject
  kNone,
  kBool,
  kInt,
  kUint,  // above the range of kInt; arithmetic treats it as kFloat
  kFloat,
  kString,
  kList,
  kTuple,
  kRange,
  kView,       // dict.items() and its kin: iterable with a length, no index
  kGenerator,  // what map, select, ... return: can be walked once
  kDict,
  kNamespace,
  kMacro,
  kLoop,
  kCallable,  // a global function or a bound method
};

// Limits of one rendering, far above what real conversations need.
struct Limits {
  int64_t steps = 20'000'000;           // evaluated nodes, copied elements
  int64_t live_bytes = 256LL << 20;     // held at once
  int64_t copied_bytes = 8LL << 30;     // over the whole rendering
  int depth = 1000;                     // nested evaluations
  static constexpr int kNesting = 128;  // of lists and dicts within each other
};

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}
  void Step(int64_t n = 1) {
    if ((limits_.steps -= n) < 0) Raise("the template runs for too long");
  }
  void Hold(int64_t bytes) {
    if ((limits_.live_bytes -= bytes) < 0) Raise("the template needs too much memory");
    if ((limits_.copied_bytes -= bytes) < 0) Raise("the template copies too much text");
  }
  void Drop(int64_t bytes) { limits_.live_bytes += bytes; }
  void Enter() {
    if (--limits_.depth < 0) Raise("the template nests or recurses too deeply");
    Step();
  }
  void Leave() { ++limits_.depth; }

 private:
  Limits limits_;
};

// What looking for one text in another may take.
inline int64_t SearchSteps(size_t text_bytes, size_t sub_bytes) {
  if (sub_bytes > text_bytes) return 0;
  const auto places = static_cast<int64_t>(text_bytes - sub_bytes) / 64 + 1;
  return places * (1 + static_cast<int64_t>(sub_bytes) / 64);
}

// The budget of the rendering this thread is in (null while parsing).
Budget* CurrentBudget();
class BudgetScope {
 public:
  explicit BudgetScope(Budget* budget);
  ~BudgetScope();
  BudgetScope(const BudgetScope&) = delete;
  BudgetScope& operator=(const BudgetScope&) = delete;

 private:
  Budget* previous_;
};

struct Object {
  Object() = default;
  virtual ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  void Charge(int64_t bytes);  // to the current budget, returned on destruction

  std::atomic<uint32_t> refs{0};
  bool in_arena = false;  // not counted; lives until the rendering ends
  uint8_t nesting = 0;    // of containers

 private:
  Budget* budget_ = nullptr;
  int64_t bytes_ = 0;
};

struct StrObject;
struct ListObject;
struct DictObject;
struct NamespaceObject;
struct MacroObject;
struct LoopObject;
struct CallableObject;

class Value {
 public:
  Value() : kind_(Kind::kNone) { data_.integer = 0; }
  Value(const Value& other) : kind_(other.kind_), markup_(other.markup_), data_(other.data_) {
    if (HasObject()) Retain();
  }
  Value(Value&& other) noexcept : kind_(other.kind_), markup_(other.markup_), data_(other.data_) {
    other.kind_ = Kind::kNone;
  }
  Value& operator=(Value other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(markup_, other.markup_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Value() {
    if (HasObject()) Release();
  }

  static Value Bool(bool value);
  static Value Int(int64_t value);
  static Value Uint(uint64_t value);
  static Value Float(double value);
  static Value Str(std::string text, bool markup = false);
  static Value Undefined(std::string message);
  static Value List(std::vector<Value> items, Kind kind = Kind::kList);
  static Value Tuple(Value a, Value b);
  static Value Dict(std::vector<std::pair<Value, Value>> items);  // later keys win
  static Value Of(Kind kind, Object* object);

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsNumber() const { return kind_ >= Kind::kBool && kind_ <= Kind::kFloat; }
  bool IsIntegral() const { return kind_ == Kind::kBool || kind_ == Kind::kInt; }
  bool IsListLike() const { return kind_ >= Kind::kList && kind_ <= Kind::kRange; }
  bool markup() const { return markup_; }

  bool boolean() const { return data_.integer != 0; }
  int64_t integer() const { return data_.integer; }  // of kInt and kBool
  uint64_t uint() const { return static_cast<uint64_t>(data_.integer); }
  double AsDouble() const;  // of any number
  const std::string& str() const;
  const std::vector<Value>& items() const;  // of lists, tuples, ranges, views
  const DictObject& dict() const;
  NamespaceObject& ns() const;
  MacroObject& macro() const;
  LoopObject& loop() const;
  const CallableObject& callable() const;
  ListObject& list_object() const;
  const Object* object() const { return data_.object; }

 private:
  bool HasObject() const { return kind_ == Kind::kUndefined || kind_ >= Kind::kString; }
  void Retain() const {
    if (!data_.object->in_arena) data_.object->refs.fetch_add(1, std::memory_order_relaxed);
  }
  void Release() const {
    if (!data_.object->in_arena &&
        data_.object->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete data_.object;
    }
  }

  Kind kind_;
  bool markup_ = false;  // str: Markup, which escapes what it is joined with
  union {
    int64_t integer;
    double number;
    Object* object;
  } data_;
};

struct StrObject : Object {
  explicit StrObject(std::string t) : text(std::move(t)) {}
  const std::string text;
};

struct ListObject : Object {
  std::vector<Value> items;
  bool walked = false;                   // generators: already consumed
  const char* type_name = "dict_items";  // of views
};

struct DictObject : Object {
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  std::vector<std::pair<Value, Value>> items;
};

struct NamespaceObject : Object {
  const Value* Find(std::string_view name) const;
  void Set(const std::string& name, Value value);
  std::vector<std::pair<std::string, Value>> items;
};

struct CallArgs {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Interpreter;
using Method = Value (*)(Interpreter&, const Value& self, CallArgs& args);

struct CallableObject : Object {
  Value self;
  Method function = nullptr;
  std::string name;
};

// Bounds how deeply objects hold each other, so that freeing and printing cannot exhaust the stack.
void RaiseNesting(Object& object, const std::vector<Value>& contained);

// Python's str(), repr(), bool(), ==, <, len(), in and type names.
std::string ToStr(const Value& value);
std::string Repr(const Value& value);
bool Truth(const Value& value);
bool Equal(const Value& a, const Value& b);
int Compare(const Value& a, const Value& b, std::string_view op);  // <0, 0, >0; 2 if unordered
int64_t Length(const Value& value);
bool Contains(const Value& container, const Value& item);
std::string_view TypeName(const Value& value);
// The elements a for loop sees; consumes generators. Raises if there is nothing to iterate.
std::vector<Value> Iterate(const Value& value);
bool Iterable(const Value& value);
// Fails with the value's message if it is undefined.
void RequireDefined(const Value& value);
std::string Escape(std::string_view text);  // for HTML, as Markup does

}  // namespace slipstream::jinja
