// One tool call written as a JSON object, read byte by byte: {"name": "f", "arguments": {...}},
// keys in any order, "parameters" for "arguments", others ignored. The name is known as soon as
// both it and the beginning of the arguments were read, and arguments come out as they are read.
// A value on one thread; nothing fails but by kBad.
#pragma once

#include <functional>
#include <string>

#include "server/parsing/json_scanner.h"

namespace slipstream {

class CallObject {
 public:
  enum class Step { kMore, kEnd, kBad };  // kBad: the byte is not taken

  // `accepts`: which names make a call; null: any.
  explicit CallObject(std::function<bool(const std::string&)> accepts = nullptr)
      : accepts_(std::move(accepts)) {}

  Step Push(char c);
  // Whether it is certain that this is a call.
  bool begun() const { return begun_; }
  const std::string& name() const { return name_; }
  // Whether the arguments have come to their end.
  bool arguments_complete() const {
    return has_arguments_ &&
           !(state_ == State::kValue && value_ != Value::kOther && value_ != Value::kName);
  }
  // Arguments read since the last call. REQUIRES: begun()
  std::string TakeArguments();
  // At the end of the text: bytes of the arguments that were waiting for more.
  std::string TakeRest();

 private:
  enum class State { kOpen, kKeyOrEnd, kKey, kColon, kFirstByte, kValue, kCommaOrEnd };
  enum class Value { kName, kObject, kText, kNull, kOther };

  Step Structure(char c);
  Step FirstByte(char c);
  Step ValueByte(char c);
  Step ValueEnded();
  Step ObjectEnded();

  std::function<bool(const std::string&)> accepts_;
  State state_ = State::kOpen;
  Value value_ = Value::kOther;
  JsonScanner scanner_;
  std::string text_;  // of the key or value in hand
  std::string name_, arguments_;
  bool named_ = false;
  bool has_arguments_ = false;
  bool begun_ = false;
};

}  // namespace slipstream
