// Global functions of chat templates: range, dict and namespace of Jinja2, and raise_exception and
// strftime_now as Hugging Face defines them.
#include <fmt/core.h>

#include <ctime>
#include <string_view>
#include <unordered_map>

#include "tokenizer/jinja/interpreter.h"

namespace slipstream::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // of Jinja2's sandbox
constexpr size_t kMaxDate = 4096;

Value Range(Interpreter&, const Value&, CallArgs& args) {
  const ArgReader reader(args, "range", {"start", "stop", "step"});
  const bool one = !reader.Has(1);
  if (!reader.Has(0)) Raise("range expected at least 1 argument, got 0");
  const int64_t start = one ? 0 : reader.Int(0, 0);
  const int64_t stop = reader.Int(one ? 0 : 1, 0);
  const int64_t step = reader.Int(2, 1);
  if (step == 0) Raise("range() arg 3 must not be zero");
  const auto wide = [](int64_t v) { return static_cast<__int128>(v); };
  const __int128 span = step > 0 ? wide(stop) - start : wide(start) - stop;
  const __int128 size = step > 0 ? wide(step) : -wide(step);
  const __int128 count = span <= 0 ? 0 : (span + size - 1) / size;
  if (count > kMaxRange) {
    Raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) {
    items.push_back(Value::Int(static_cast<int64_t>(wide(start) + wide(i) * step)));
  }
  return Value::List(std::move(items), Kind::kRange);
}

Value MakeDict(Interpreter&, const Value&, CallArgs& args) {
  std::vector<std::pair<Value, Value>> items;
  if (args.positional.size() > 1) Raise("dict expected at most 1 argument");
  if (!args.positional.empty()) {
    const Value& from = args.positional[0];
    if (from.Is(Kind::kDict)) {
      items = from.dict().items;
    } else {
      for (const Value& pair : Iterate(from)) {
        std::vector<Value> parts = Iterate(pair);
        if (parts.size() != 2) Raise("dictionary update sequence element needs length 2");
        items.emplace_back(std::move(parts[0]), std::move(parts[1]));
      }
    }
  }
  for (auto& [name, value] : args.named) items.emplace_back(Value::Str(name), std::move(value));
  return Value::Dict(std::move(items));
}

Value Namespace(Interpreter& interpreter, const Value&, CallArgs& args) {
  return interpreter.NewNamespace(args);
}

Value RaiseException(Interpreter&, const Value&, CallArgs& args) {
  const ArgReader reader(args, "raise_exception", {"message"});
  throw Error{ToStr(reader.Require(0)), true};
}

// datetime.now().strftime(format): local time without a zone.
Value StrftimeNow(Interpreter& interpreter, const Value&, CallArgs& args) {
  const ArgReader reader(args, "strftime_now", {"format"});
  if (!reader.Require(0).Is(Kind::kString)) Raise("strftime() argument 1 must be str");
  const std::string& given = reader.Require(0).str();
  std::string format;
  for (size_t i = 0; i < given.size(); ++i) {
    const char next = given[i] == '%' && i + 1 < given.size() ? given[i + 1] : '\0';
    if (next == 'f') {
      format += "000000";
    } else if (next != 'z' && next != 'Z') {  // both empty without a zone
      format += given[i];
      if (next == '\0') continue;
      format += next;
    }
    if (next != '\0') ++i;
  }
  if (format.empty()) return Value::Str("");
  if (format.size() > 512) Raise("the format of strftime_now is too long");
  const std::time_t now = interpreter.now();
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[kMaxDate];
  const size_t size = std::strftime(buffer, sizeof buffer, format.c_str(), &local);
  return Value::Str(std::string(buffer, size));
}

}  // namespace

bool FindGlobal(const std::string& name, Value& value) {
  static const std::unordered_map<std::string_view, Method> table = {
      {"range", Range},
      {"dict", MakeDict},
      {"namespace", Namespace},
      {"raise_exception", RaiseException},
      {"strftime_now", StrftimeNow},
  };
  const auto it = table.find(name);
  if (it == table.end()) return false;
  value = MakeBoundMethod(Value(), it->second, name);
  return true;
}

}  // namespace slipstream::jinja
