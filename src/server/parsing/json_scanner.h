// Reads one JSON value byte by byte and says where it ends or breaks. Models write control
// characters and unknown escapes into strings; these are escaped on the way through, so that what
// comes out is JSON. Nesting is bounded. A value on one thread; nothing fails but by kBad.
// Grammar: RFC 8259.
#pragma once

#include <string>
#include <string_view>

namespace slipstream {

class JsonScanner {
 public:
  enum class Step {
    kMore,       // the byte belongs to the value, which goes on
    kEnd,        // the byte ends the value
    kEndBefore,  // the value (a number) ended before the byte
    kBad,        // no JSON value goes on like this; the byte is not taken
  };

  // `out` gets the value's text, repaired; may be null. White space before the value is taken and
  // dropped. After kEnd, kEndBefore or kBad nothing may be pushed.
  Step Push(char c, std::string* out);
  // Bytes taken and not yet put out: the beginning of an escape.
  const std::string& held() const { return held_; }

 private:
  enum class State {
    kValue,         // a value must come
    kValueOrEnd,    // after [
    kKeyOrEnd,      // after {
    kKey,           // after , in an object
    kColon,         // after a key
    kCommaOrEnd,    // after a member or element
    kString,        // in a string
    kEscape,        // after a backslash
    kUnicode,       // in \uXXXX
    kNumberOrWord,  // in a number, true, false or null
  };

  Step Begin(char c, std::string* out);
  Step InString(char c, std::string* out);
  Step InEscape(char c, std::string* out);
  Step InUnicode(char c, std::string* out);
  Step InWord(char c, std::string* out);
  Step Structure(char c, std::string* out);
  Step Open(char c, State next, std::string* out);
  Step Close(char c, std::string* out);
  // A value has ended; what follows depends on what it was in.
  Step Ended();

  State state_ = State::kValue;
  bool string_is_key_ = false;
  std::string open_;  // brackets
  std::string word_;  // number or word so far
  std::string held_;
};

// What a JSON string literal stands for; the literal itself if it is not one.
std::string DecodeJsonString(const std::string& literal);
// Whether `text` is a JSON object and nothing else.
bool IsJsonObject(const std::string& text);

}  // namespace slipstream
