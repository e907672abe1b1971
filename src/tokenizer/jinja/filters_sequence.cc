#include "tokenizer/jinja/filters_sequence.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "tokenizer/jinja/text.h"

namespace slipstream::jinja {
namespace {

using I = Interpreter;

// "a.b.0": where a filter finds what it looks at in each element.
class AttributePath {
 public:
  explicit AttributePath(const Value& path) {
    if (path.Is(Kind::kNone)) return;
    if (!path.Is(Kind::kString)) {
      parts_.push_back(path);
      return;
    }
    const std::string& text = path.str();
    for (size_t start = 0; start <= text.size();) {
      const size_t end = std::min(text.find('.', start), text.size());
      const std::string part = text.substr(start, end - start);
      const bool digits = !part.empty() && part.size() < 18 &&
                          part.find_first_not_of("0123456789") == std::string::npos;
      parts_.push_back(digits ? Value::Int(std::stoll(part)) : Value::Str(part));
      start = end + 1;
    }
  }

  Value Of(I& in, Value item, const Value* fallback = nullptr) const {
    for (const Value& part : parts_) {
      item = in.GetItem(item, part);
      if (fallback != nullptr && item.Is(Kind::kUndefined)) item = *fallback;
    }
    return item;
  }

 private:
  std::vector<Value> parts_;
};

AttributePath PathOf(const ArgReader& reader, size_t i) {
  return AttributePath(reader.Has(i) ? reader.Require(i) : Value());
}

// What elements are ordered by: strings without regard to case unless asked otherwise.
Value SortKey(Value value, bool case_sensitive) {
  return value.Is(Kind::kString) && !case_sensitive ? Value::Str(ToLower(value.str())) : value;
}

using Keyed = std::vector<std::pair<Value, Value>>;  // key, element

void SortByKey(Keyed& items, bool reverse) {
  // Python reverses stably: equal elements keep their order.
  std::stable_sort(items.begin(), items.end(), [reverse](const auto& a, const auto& b) {
    CurrentBudget()->Step();
    return reverse ? Compare(b.first, a.first, "<") == -1 : Compare(a.first, b.first, "<") == -1;
  });
}

// std::stable_sort needs an order that cannot throw half way: check that all keys compare.
void RequireComparable(const Keyed& items) {
  for (size_t i = 1; i < items.size(); ++i) Compare(items[i - 1].first, items[i].first, "<");
}

Value Sort(I& in, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "sort", {"reverse", "case_sensitive", "attribute"});
  const bool case_sensitive = reader.Bool(1, false);
  std::vector<AttributePath> paths;
  if (reader.Has(2) && reader.Require(2).Is(Kind::kString)) {
    const std::string& names = reader.Require(2).str();
    for (size_t start = 0; start <= names.size();) {
      const size_t end = std::min(names.find(',', start), names.size());
      paths.emplace_back(Value::Str(names.substr(start, end - start)));
      start = end + 1;
    }
  } else {
    paths.push_back(PathOf(reader, 2));
  }
  Keyed items;
  for (Value& item : Iterate(v)) {
    std::vector<Value> key;
    for (const AttributePath& path : paths)
      key.push_back(SortKey(path.Of(in, item), case_sensitive));
    items.emplace_back(Value::List(std::move(key)), std::move(item));
  }
  RequireComparable(items);
  SortByKey(items, reader.Bool(0, false));
  std::vector<Value> sorted;
  for (auto& item : items) sorted.push_back(std::move(item.second));
  return Value::List(std::move(sorted));
}

Value DictSort(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "dictsort", {"case_sensitive", "by", "reverse"});
  RequireDefined(v);
  if (!v.Is(Kind::kDict)) Raise(fmt::format("'{} object' has no attribute 'items'", TypeName(v)));
  const std::string by = reader.Str(1, "key");
  if (by != "key" && by != "value") Raise("You can only sort by either \"key\" or \"value\"");
  Keyed items;
  for (const auto& [key, value] : v.dict().items) {
    items.emplace_back(SortKey(by == "key" ? key : value, reader.Bool(0, false)),
                       Value::Tuple(key, value));
  }
  RequireComparable(items);
  SortByKey(items, reader.Bool(2, false));
  std::vector<Value> sorted;
  for (auto& item : items) sorted.push_back(std::move(item.second));
  return Value::List(std::move(sorted));
}

Value Join(I& in, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "join", {"d", "attribute"});
  const std::string separator = reader.Str(0, "");
  const AttributePath path = PathOf(reader, 1);
  std::string out;
  bool first = true;
  for (Value& item : Iterate(v)) {
    if (!std::exchange(first, false)) out += separator;
    out += ToStr(path.Of(in, std::move(item)));
    in.budget().Step(1 + static_cast<int64_t>(separator.size()) / 16);
  }
  return Value::Str(std::move(out));
}

Value First(I&, const Value& v, CallArgs&) {
  std::vector<Value> items = Iterate(v);
  if (items.empty()) return Value::Undefined("No first item, sequence was empty.");
  return std::move(items.front());
}

Value Last(I&, const Value& v, CallArgs&) {
  std::vector<Value> items = Iterate(v);
  if (v.Is(Kind::kGenerator)) Raise("'generator' object is not reversible");
  if (items.empty()) return Value::Undefined("No last item, sequence was empty.");
  return std::move(items.back());
}

Value Items(I&, const Value& v, CallArgs&) {
  std::vector<Value> items;
  if (!v.Is(Kind::kUndefined)) {
    if (!v.Is(Kind::kDict)) Raise("Can only get item pairs from a mapping.");
    for (const auto& [key, value] : v.dict().items) items.push_back(Value::Tuple(key, value));
  }
  return Value::List(std::move(items), Kind::kGenerator);
}

Value Map(I& in, const Value& v, CallArgs& args) {
  std::vector<Value> out;
  if (!Truth(v)) return Value::List(std::move(out), Kind::kGenerator);
  if (args.positional.empty()) {
    const ArgReader reader(args, "map", {"attribute", "default"});
    if (!reader.Has(0)) Raise("map requires a filter argument");
    const AttributePath path = PathOf(reader, 0);
    const bool fallback = reader.Has(1) && !reader.Require(1).Is(Kind::kNone);
    for (Value& item : Iterate(v)) {
      out.push_back(path.Of(in, std::move(item), fallback ? &reader.Require(1) : nullptr));
    }
    return Value::List(std::move(out), Kind::kGenerator);
  }
  const Filter filter = FindFilter(ToStr(args.positional[0]));
  if (filter == nullptr) Raise(fmt::format("No filter named '{}'.", ToStr(args.positional[0])));
  args.positional.erase(args.positional.begin());
  for (const Value& item : Iterate(v)) {
    CallArgs copy = args;
    out.push_back(filter(in, item, copy));
  }
  return Value::List(std::move(out), Kind::kGenerator);
}

template <bool kKeep, bool kAttribute>
Value Select(I& in, const Value& v, CallArgs& args) {
  std::vector<Value> out;
  if (!Truth(v)) return Value::List(std::move(out), Kind::kGenerator);
  AttributePath path{Value()};
  if (kAttribute) {
    if (args.positional.empty()) Raise("Missing parameter for attribute name");
    path = AttributePath(args.positional[0]);
    args.positional.erase(args.positional.begin());
  }
  Test test = nullptr;
  if (!args.positional.empty()) {
    const std::string name = ToStr(args.positional[0]);
    test = FindTest(name);
    if (test == nullptr) Raise(fmt::format("No test named '{}'.", name));
    args.positional.erase(args.positional.begin());
  }
  for (Value& item : Iterate(v)) {
    const Value looked_at = path.Of(in, item);
    CallArgs copy = args;
    const bool holds = test != nullptr ? test(in, looked_at, copy) : Truth(looked_at);
    if (holds == kKeep) out.push_back(std::move(item));
  }
  return Value::List(std::move(out), Kind::kGenerator);
}

Value Unique(I& in, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "unique", {"case_sensitive", "attribute"});
  const AttributePath path = PathOf(reader, 1);
  std::vector<Value> seen;
  std::vector<Value> out;
  for (Value& item : Iterate(v)) {
    Value key = SortKey(path.Of(in, item), reader.Bool(0, false));
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return Equal(s, key); }))
      continue;
    seen.push_back(std::move(key));
    out.push_back(std::move(item));
  }
  return Value::List(std::move(out), Kind::kGenerator);
}

template <bool kMax>
Value Extreme(I& in, const Value& v, CallArgs& args) {
  const ArgReader reader(args, kMax ? "max" : "min", {"case_sensitive", "attribute"});
  const AttributePath path = PathOf(reader, 1);
  const std::vector<Value> items = Iterate(v);
  if (items.empty()) return Value::Undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  Value best_key = SortKey(path.Of(in, items[0]), reader.Bool(0, false));
  for (size_t i = 1; i < items.size(); ++i) {
    Value key = SortKey(path.Of(in, items[i]), reader.Bool(0, false));
    if (Compare(key, best_key, kMax ? ">" : "<") != (kMax ? 1 : -1)) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}

Value Sum(I& in, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "sum", {"attribute", "start"});
  const AttributePath path = PathOf(reader, 0);
  Value total = reader.Has(1) ? reader.Require(1) : Value::Int(0);
  if (total.Is(Kind::kString)) Raise("sum() can't sum strings [use ''.join(seq) instead]");
  for (Value& item : Iterate(v)) total = BinaryOperation("+", total, path.Of(in, std::move(item)));
  return total;
}

Value Reverse(I&, const Value& v, CallArgs&) {
  RequireDefined(v);
  if (v.Is(Kind::kGenerator)) Raise("argument must be iterable");
  std::vector<Value> items = Iterate(v);
  std::reverse(items.begin(), items.end());
  if (!v.Is(Kind::kString)) return Value::List(std::move(items), Kind::kGenerator);
  std::string text;
  for (const Value& item : items) text += item.str();
  return Value::Str(std::move(text), v.markup());
}

Value Batch(I&, const Value& v, CallArgs& args) {
  const ArgReader reader(args, "batch", {"linecount", "fill_with"});
  const int64_t size = reader.Int(0, 0);
  if (size < 1) Raise("batch needs a positive size");
  std::vector<Value> rows;
  std::vector<Value> row;
  for (Value& item : Iterate(v)) {
    if (static_cast<int64_t>(row.size()) == size)
      rows.push_back(Value::List(std::exchange(row, {})));
    row.push_back(std::move(item));
  }
  if (!row.empty()) {
    const bool fill = reader.Has(1) && !reader.Require(1).Is(Kind::kNone);
    for (auto i = static_cast<int64_t>(row.size()); fill && i < size; ++i) {
      CurrentBudget()->Hold(static_cast<int64_t>(sizeof(Value)));
      row.push_back(reader.Require(1));
    }
    rows.push_back(Value::List(std::move(row)));
  }
  return Value::List(std::move(rows), Kind::kGenerator);
}

}  // namespace

Filter FindSequenceFilter(const std::string& name) {
  static const std::unordered_map<std::string_view, Filter> table = {
      {"sort", Sort},
      {"dictsort", DictSort},
      {"join", Join},
      {"first", First},
      {"last", Last},
      {"items", Items},
      {"list", [](I&, const Value& v, CallArgs&) { return Value::List(Iterate(v)); }},
      {"map", Map},
      {"select", Select<true, false>},
      {"reject", Select<false, false>},
      {"selectattr", Select<true, true>},
      {"rejectattr", Select<false, true>},
      {"unique", Unique},
      {"min", Extreme<false>},
      {"max", Extreme<true>},
      {"sum", Sum},
      {"reverse", Reverse},
      {"batch", Batch},
  };
  const auto it = table.find(name);
  return it == table.end() ? nullptr : it->second;
}

}  // namespace slipstream::jinja
