#include "server/parsing/call_object.h"

#include <utility>

#include "server/parsing/output_parser.h"

namespace slipstream {

CallObject::Step CallObject::Push(char c) {
  if (state_ == State::kKey || state_ == State::kValue) return ValueByte(c);
  if (IsSpace(c)) return Step::kMore;
  return state_ == State::kFirstByte ? FirstByte(c) : Structure(c);
}

CallObject::Step CallObject::Structure(char c) {
  switch (state_) {
    case State::kOpen:
      if (c != '{') return Step::kBad;
      state_ = State::kKeyOrEnd;
      return Step::kMore;
    case State::kColon:
      if (c != ':') return Step::kBad;
      state_ = State::kFirstByte;
      return Step::kMore;
    case State::kCommaOrEnd:
      if (c == '}') return ObjectEnded();
      if (c != ',') return Step::kBad;
      state_ = State::kKeyOrEnd;
      return Step::kMore;
    default:
      if (c == '}') return ObjectEnded();
      if (c != '"') return Step::kBad;
      scanner_ = {};
      text_.clear();
      state_ = State::kKey;
      return ValueByte(c);
  }
}

CallObject::Step CallObject::FirstByte(char c) {
  const std::string key = DecodeJsonString(text_);
  text_.clear();
  scanner_ = {};
  state_ = State::kValue;
  value_ = Value::kOther;
  if (key == "name" && !named_) {
    if (c != '"') return Step::kBad;
    value_ = Value::kName;
  } else if ((key == "arguments" || key == "parameters") && !has_arguments_) {
    if (c != '{' && c != '"' && c != 'n') return Step::kBad;
    value_ = c == '{' ? Value::kObject : c == '"' ? Value::kText : Value::kNull;
    has_arguments_ = true;
    if (named_) begun_ = true;
  }
  return ValueByte(c);
}

CallObject::Step CallObject::ValueByte(char c) {
  const bool streams = state_ == State::kValue && value_ == Value::kObject;
  std::string* out = streams ? &arguments_ : &text_;
  if (state_ == State::kValue && value_ == Value::kOther) out = nullptr;
  switch (scanner_.Push(c, out)) {
    case JsonScanner::Step::kMore:
      return Step::kMore;
    case JsonScanner::Step::kBad:
      return Step::kBad;
    case JsonScanner::Step::kEnd:
      return ValueEnded();
    default:  // a number, which ended before this byte
      if (ValueEnded() == Step::kBad) return Step::kBad;
      return Push(c);
  }
}

CallObject::Step CallObject::ValueEnded() {
  if (state_ == State::kKey) {
    state_ = State::kColon;
    return Step::kMore;
  }
  state_ = State::kCommaOrEnd;
  switch (value_) {
    case Value::kName:
      name_ = DecodeJsonString(text_);
      if (name_.empty() || (accepts_ && !accepts_(name_))) return Step::kBad;
      named_ = true;
      begun_ = has_arguments_;
      break;
    case Value::kText:  // some models write the arguments as the API has them, as JSON in a string
      arguments_ = DecodeJsonString(text_);
      if (arguments_.empty()) arguments_ = "{}";
      break;
    case Value::kNull:
      arguments_ = "{}";
      break;
    default:
      break;
  }
  return Step::kMore;
}

CallObject::Step CallObject::ObjectEnded() {
  if (!named_) return Step::kBad;
  if (!has_arguments_) arguments_ = "{}";
  begun_ = true;
  return Step::kEnd;
}

std::string CallObject::TakeArguments() { return std::exchange(arguments_, {}); }

std::string CallObject::TakeRest() {
  std::string rest = TakeArguments();
  if (state_ != State::kValue) return rest;
  if (value_ == Value::kText) rest += text_;
  if (value_ == Value::kObject || value_ == Value::kText) rest += scanner_.held();
  return rest;
}

}  // namespace slipstream
