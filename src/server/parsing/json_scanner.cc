#include "server/parsing/json_scanner.h"

#include <cctype>
#include <exception>
#include <nlohmann/json.hpp>

#include "server/json_text.h"
#include "server/parsing/output_parser.h"

namespace slipstream {
namespace {

constexpr size_t kMaxDepth = 64;

void Put(std::string* out, std::string_view text) {
  if (out != nullptr) out->append(text);
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsWordByte(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || c == 'E' || c == '-' || c == '+' || c == '.';
}

bool IsNumber(std::string_view s) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t first = i;
    while (i < s.size() && IsDigit(s[i])) ++i;
    return i > first;
  };
  if (i < s.size() && s[i] == '-') ++i;
  const size_t first = i;
  if (!digits() || (s[first] == '0' && i > first + 1)) return false;
  if (i < s.size() && s[i] == '.') {
    ++i;
    if (!digits()) return false;
  }
  if (i < s.size() && (s[i] == 'e' || s[i] == 'E')) {
    ++i;
    if (i < s.size() && (s[i] == '+' || s[i] == '-')) ++i;
    if (!digits()) return false;
  }
  return i == s.size();
}

}  // namespace

JsonScanner::Step JsonScanner::Push(char c, std::string* out) {
  switch (state_) {
    case State::kString:
      return InString(c, out);
    case State::kEscape:
      return InEscape(c, out);
    case State::kUnicode:
      return InUnicode(c, out);
    case State::kNumberOrWord:
      return InWord(c, out);
    default:
      return Structure(c, out);
  }
}

JsonScanner::Step JsonScanner::Structure(char c, std::string* out) {
  if (IsSpace(c)) {
    if (!open_.empty()) Put(out, {&c, 1});
    return Step::kMore;
  }
  switch (state_) {
    case State::kValue:
      return Begin(c, out);
    case State::kValueOrEnd:
      return c == ']' ? Close(c, out) : Begin(c, out);
    case State::kKeyOrEnd:
      if (c == '}') return Close(c, out);
      [[fallthrough]];
    case State::kKey:
      if (c != '"') return Step::kBad;
      string_is_key_ = true;
      state_ = State::kString;
      break;
    case State::kColon:
      if (c != ':') return Step::kBad;
      state_ = State::kValue;
      break;
    default:  // kCommaOrEnd
      if (c != ',') return Close(c, out);
      state_ = open_.back() == '{' ? State::kKey : State::kValue;
  }
  Put(out, {&c, 1});
  return Step::kMore;
}

JsonScanner::Step JsonScanner::Begin(char c, std::string* out) {
  if (c == '{') return Open(c, State::kKeyOrEnd, out);
  if (c == '[') return Open(c, State::kValueOrEnd, out);
  if (c == '"') {
    string_is_key_ = false;
    state_ = State::kString;
  } else if (c == '-' || IsDigit(c) || c == 't' || c == 'f' || c == 'n') {
    word_.assign(1, c);
    state_ = State::kNumberOrWord;
  } else {
    return Step::kBad;
  }
  Put(out, {&c, 1});
  return Step::kMore;
}

JsonScanner::Step JsonScanner::Open(char c, State next, std::string* out) {
  if (open_.size() >= kMaxDepth) return Step::kBad;
  open_ += c;
  state_ = next;
  Put(out, {&c, 1});
  return Step::kMore;
}

JsonScanner::Step JsonScanner::Close(char c, std::string* out) {
  if (open_.empty() || c != (open_.back() == '{' ? '}' : ']')) return Step::kBad;
  open_.pop_back();
  Put(out, {&c, 1});
  return Ended();
}

JsonScanner::Step JsonScanner::Ended() {
  state_ = State::kCommaOrEnd;
  return open_.empty() ? Step::kEnd : Step::kMore;
}

JsonScanner::Step JsonScanner::InString(char c, std::string* out) {
  if (c == '\\') {
    held_ = c;
    state_ = State::kEscape;
  } else if (c == '"') {
    Put(out, {&c, 1});
    if (!string_is_key_) return Ended();
    state_ = State::kColon;
  } else if (static_cast<unsigned char>(c) < 0x20) {
    if (out != nullptr) AppendJsonEscaped(out, {&c, 1});
  } else {
    Put(out, {&c, 1});
  }
  return Step::kMore;
}

JsonScanner::Step JsonScanner::InEscape(char c, std::string* out) {
  if (c == 'u') {
    held_ += c;
    state_ = State::kUnicode;
    return Step::kMore;
  }
  held_.clear();
  state_ = State::kString;
  if (std::string_view("\"\\/bfnrt").find(c) != std::string_view::npos) {
    Put(out, "\\");
    Put(out, {&c, 1});
    return Step::kMore;
  }
  if (c == '\'') {  // of another language: the quote is meant
    Put(out, {&c, 1});
    return Step::kMore;
  }
  Put(out, "\\\\");
  return InString(c, out);
}

JsonScanner::Step JsonScanner::InUnicode(char c, std::string* out) {
  constexpr size_t kEscapeBytes = 6;  // \uXXXX
  const bool is_hex = std::isxdigit(static_cast<unsigned char>(c)) != 0;
  if (is_hex) held_ += c;
  if (is_hex && held_.size() < kEscapeBytes) return Step::kMore;
  if (!is_hex) Put(out, "\\");
  Put(out, held_);
  held_.clear();
  state_ = State::kString;
  return is_hex ? Step::kMore : InString(c, out);
}

JsonScanner::Step JsonScanner::InWord(char c, std::string* out) {
  const bool is_number = word_[0] == '-' || IsDigit(word_[0]);
  if (is_number) {
    if (IsWordByte(c)) {
      word_ += c;
      Put(out, {&c, 1});
      return Step::kMore;
    }
    if (!IsNumber(word_)) return Step::kBad;
    if (Ended() == Step::kEnd) return Step::kEndBefore;
    return Structure(c, out);
  }
  const std::string_view word = word_[0] == 't' ? "true" : word_[0] == 'f' ? "false" : "null";
  if (c != word[word_.size()]) return Step::kBad;
  word_ += c;
  Put(out, {&c, 1});
  return word_.size() == word.size() ? Ended() : Step::kMore;
}

std::string DecodeJsonString(const std::string& literal) {
  const auto json = nlohmann::json::parse(literal, nullptr, false);
  return json.is_string() ? json.get<std::string>() : literal;
}

bool IsJsonObject(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, false).is_object();
}

}  // namespace slipstream
