// str() and repr() of values.
#include <fmt/core.h>

#include "tokenizer/jinja/text.h"
#include "tokenizer/jinja/value.h"

namespace slipstream::jinja {
namespace {

// Repeated printing of shared parts can make text of exponential size: charge as it grows.
class Printer {
 public:
  std::string text;

  void Append(std::string_view piece) {
    text += piece;
    if (Budget* budget = CurrentBudget()) budget->Step(1 + static_cast<int64_t>(piece.size()) / 16);
  }

  void Sequence(const std::vector<Value>& items, std::string_view open, std::string_view close) {
    Append(open);
    for (size_t i = 0; i < items.size(); ++i) {
      if (i != 0) Append(", ");
      Print(items[i]);
    }
    Append(close);
  }

  void Print(const Value& value);

 private:
  int depth_ = 0;
};

void Printer::Print(const Value& value) {
  if (++depth_ > 2 * Limits::kNesting) Raise("value too deeply nested to print");
  switch (value.kind()) {
    case Kind::kUndefined:
      Append("Undefined");
      break;
    case Kind::kNone:
      Append("None");
      break;
    case Kind::kBool:
      Append(value.boolean() ? "True" : "False");
      break;
    case Kind::kInt:
      Append(std::to_string(value.integer()));
      break;
    case Kind::kUint:
      Append(std::to_string(value.uint()));
      break;
    case Kind::kFloat:
      Append(ReprFloat(value.AsDouble()));
      break;
    case Kind::kString:
      if (value.markup()) {
        Append("Markup(" + ReprStr(value.str()) + ")");
      } else {
        Append(ReprStr(value.str()));
      }
      break;
    case Kind::kList:
      Sequence(value.items(), "[", "]");
      break;
    case Kind::kTuple:
      Sequence(value.items(), "(", value.items().size() == 1 ? ",)" : ")");
      break;
    case Kind::kView:
      Sequence(value.items(), std::string(TypeName(value)) + "([", "])");
      break;
    case Kind::kRange: {
      const auto& items = value.items();
      const int64_t first = items.empty() ? 0 : items.front().integer();
      const int64_t step = items.size() < 2 ? 1 : items[1].integer() - first;
      const int64_t end = items.empty() ? 0 : items.back().integer() + (step < 0 ? -1 : 1);
      Append(step == 1 ? fmt::format("range({}, {})", first, end)
                       : fmt::format("range({}, {}, {})", first, end, step));
      break;
    }
    case Kind::kDict: {
      Append("{");
      bool first = true;
      for (const auto& [key, item] : value.dict().items) {
        if (!first) Append(", ");
        first = false;
        Print(key);
        Append(": ");
        Print(item);
      }
      Append("}");
      break;
    }
    case Kind::kNamespace: {
      Append("<Namespace {");
      bool first = true;
      for (const auto& [key, item] : value.ns().items) {
        Append((first ? "" : ", ") + ReprStr(key) + ": ");
        first = false;
        Print(item);
      }
      Append("}>");
      break;
    }
    default:
      Append("<" + std::string(TypeName(value)) + " object>");
  }
  --depth_;
}

}  // namespace

std::string Repr(const Value& value) {
  Printer printer;
  printer.Print(value);
  return std::move(printer.text);
}

std::string ToStr(const Value& value) {
  if (value.Is(Kind::kString)) return value.str();
  if (value.Is(Kind::kUndefined)) return "";
  return Repr(value);
}

std::string Escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace slipstream::jinja
