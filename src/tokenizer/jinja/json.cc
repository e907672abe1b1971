#include "tokenizer/jinja/json.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/text.h"

namespace slipstream::jinja {
namespace {

Value Convert(const nlohmann::ordered_json& json, int depth) {
  if (depth > Limits::kNesting) Raise("the input is nested too deeply");
  if (Budget* budget = CurrentBudget()) budget->Step();
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return Value::Bool(json.get<bool>());
    case nlohmann::json::value_t::number_integer:
      return Value::Int(json.get<int64_t>());
    case nlohmann::json::value_t::number_unsigned:
      return Value::Uint(json.get<uint64_t>());
    case nlohmann::json::value_t::number_float:
      return Value::Float(json.get<double>());
    case nlohmann::json::value_t::string:
      return Value::Str(json.get_ref<const std::string&>());
    case nlohmann::json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(Convert(item, depth + 1));
      return Value::List(std::move(items));
    }
    case nlohmann::json::value_t::object: {
      std::vector<std::pair<Value, Value>> items;
      items.reserve(json.size());
      for (const auto& [key, item] : json.items()) {
        items.emplace_back(Value::Str(key), Convert(item, depth + 1));
      }
      return Value::Dict(std::move(items));
    }
    default:
      return Value();
  }
}

class Writer {
 public:
  explicit Writer(const JsonStyle& style) : style_(style) {}
  std::string text;

  void Write(const Value& value) {
    if (Budget* budget = CurrentBudget()) budget->Step(1 + Growth() / 16);
    if (value.Is(Kind::kString)) {
      String(value.str());
    } else if (value.Is(Kind::kList) || value.Is(Kind::kTuple)) {
      Open('[');
      bool first = true;
      for (const Value& item : value.items()) {
        Separate(first);
        Write(item);
      }
      Close(']', first);
    } else if (value.Is(Kind::kDict)) {
      Dict(value.dict());
    } else {
      text += Scalar(value);
    }
  }

 private:
  int64_t Growth() {
    const auto grown = static_cast<int64_t>(text.size() - seen_);
    seen_ = text.size();
    return grown;
  }

  std::string Scalar(const Value& value) const {
    switch (value.kind()) {
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return value.boolean() ? "true" : "false";
      case Kind::kInt:
        return std::to_string(value.integer());
      case Kind::kUint:
        return std::to_string(value.uint());
      case Kind::kFloat:
        if (std::isnan(value.AsDouble())) return "NaN";
        if (std::isinf(value.AsDouble())) return value.AsDouble() < 0 ? "-Infinity" : "Infinity";
        return ReprFloat(value.AsDouble());
      default:
        Raise(fmt::format("Object of type {} is not JSON serializable", TypeName(value)));
    }
  }

  void Dict(const DictObject& dict) {
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [](const auto* a, const auto* b) {
        return Compare(a->first, b->first, "<") == -1;
      });
    }
    Open('{');
    bool first = true;
    for (const auto* item : items) {
      Separate(first);
      String(item->first.Is(Kind::kString) ? item->first.str() : Scalar(item->first));
      text += style_.key_separator;
      Write(item->second);
    }
    Close('}', first);
  }

  void NewLine() {
    if (!style_.indented) return;
    text += '\n';
    for (int i = 0; i < level_; ++i) text += style_.indent;
  }
  void Open(char bracket) {
    text += bracket;
    ++level_;
  }
  void Separate(bool& first) {
    if (!std::exchange(first, false)) text += style_.item_separator;
    NewLine();
  }
  void Close(char bracket, bool empty) {
    --level_;
    if (!empty) NewLine();
    text += bracket;
  }

  void Escape16(uint32_t unit) { text += fmt::format("\\u{:04x}", unit); }

  void String(const std::string& s) {
    text += '"';
    for (size_t pos = 0; pos < s.size();) {
      const size_t start = pos;
      const char32_t c = NextChar(s, pos);
      static constexpr std::string_view kSpecial = "\"\\\n\r\t\b\f";
      static constexpr std::string_view kShort = "\"\\nrtbf";
      const size_t special = c < 0x80 ? kSpecial.find(static_cast<char>(c)) : std::string::npos;
      if (special != std::string::npos) {
        text += '\\';
        text += kShort[special];
      } else if (c < 0x20) {
        Escape16(c);
      } else if (c < 0x7F || !style_.ensure_ascii) {
        text.append(s, start, pos - start);
      } else if (c == 0x7F) {
        text += static_cast<char>(c);
      } else if (c < 0x10000) {
        Escape16(c);
      } else {
        Escape16(0xD800 + ((c - 0x10000) >> 10));
        Escape16(0xDC00 + ((c - 0x10000) & 0x3FF));
      }
    }
    text += '"';
  }

  const JsonStyle& style_;
  int level_ = 0;
  size_t seen_ = 0;
};

}  // namespace

Value FromJson(const nlohmann::ordered_json& json) { return Convert(json, 0); }

std::string DumpJson(const Value& value, const JsonStyle& style) {
  Writer writer(style);
  writer.Write(value);
  return std::move(writer.text);
}

}  // namespace slipstream::jinja
