// What the parsers of the tool call forms have in common: text up to a marker is content, then a
// form-specific reader takes over, which ends the call or gives its text back as content. See
// output_parser.h for the promises and output_forms.h for how one is chosen.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/parsing/call_object.h"
#include "server/parsing/output_parser.h"

namespace slipstream {

struct ToolParserOptions {
  std::vector<std::string> names;  // of the request's functions
  bool known_names_only = false;   // what calls another function is content
  bool parallel = true;            // false: calls after the first are dropped
  // Whether a parameter of a function takes text, for forms that do not quote it; null: unknown.
  std::function<bool(const std::string& function, const std::string& parameter)> is_text;
};

class ToolParser : public OutputParser {
 public:
  void Feed(std::string_view text, OutputEvents* out) final;
  void Finish(OutputEvents* out) final;

 protected:
  // `markers` begin a call wherever they stand; none may be the beginning of another.
  ToolParser(std::vector<std::string> markers, ToolParserOptions options)
      : options_(std::move(options)), markers_(std::move(markers)) {}

  enum class Match { kYes, kNo, kMore };

  // A marker was found and taken, or the form let a call begin without one.
  virtual void OnMarker(size_t marker) = 0;
  // One move within a call over what Rest() holds. False: more text is needed.
  virtual bool StepCall(OutputEvents* out) = 0;
  // The text ends within a call that has begun.
  virtual void FinishCall(OutputEvents* out) = 0;

  std::string_view Rest() const { return std::string_view(pending_).substr(at_); }
  // Takes bytes of Rest(); they are given back as content if no call begins.
  void Take(size_t num_bytes);
  void SkipSpace();
  bool IsKnown(const std::string& name) const;
  // Whether a call of `name` is one.
  bool Accepts(const std::string& name) const {
    return !name.empty() && (!options_.known_names_only || IsKnown(name));
  }
  // Takes `literal` if it comes next.
  Match TakeLiteral(std::string_view literal);
  // Takes text up to `end` and appends it to `text`; true when `end` came, which is taken too.
  bool TakeUntil(std::string_view end, std::string* text);

  void EnterCall();
  void BeginCall(const std::string& name, OutputEvents* out);
  void AddArguments(std::string_view text, OutputEvents* out);
  // The call is over, text goes on.
  void LeaveCall();
  // It was no call: what was taken since the marker becomes content.
  void GiveBack(OutputEvents* out);
  bool call_begun() const { return call_begun_; }
  // Once the call has begun: passes text on as arguments up to `end`, which is left in Rest().
  // True when it was found.
  bool StepRaw(std::string_view end, OutputEvents* out);

  const ToolParserOptions options_;

 private:
  bool StepText(OutputEvents* out);
  void DropTaken();

  const std::vector<std::string> markers_;
  std::string pending_;  // text not decided on, from at_ on
  size_t at_ = 0;
  std::string taken_;  // since the white space before the marker
  bool in_call_ = false;
  bool call_begun_ = false;
  bool after_call_ = false;  // nothing but white space has come since a call
  int num_calls_ = 0;
};

// A ToolParser for forms that write arguments as JSON.
class JsonCallParser : public ToolParser {
 protected:
  using ToolParser::ToolParser;

  // kRaw: the arguments are broken, whatever follows belongs to them.
  enum class JsonStep { kMore, kEnd, kNoCall, kRaw };

  // Either an object with name and arguments comes next, or the arguments of the function `name`.
  void StartObject(bool known_only = false);
  void StartArguments(std::string name);
  // Reads on; begins the call and passes arguments on when they are known.
  JsonStep StepJson(OutputEvents* out) { return has_name_ ? StepArguments(out) : StepObject(out); }
  // At the end of the text.
  void FinishJson(OutputEvents* out);

 private:
  JsonStep StepObject(OutputEvents* out);
  JsonStep StepArguments(OutputEvents* out);

  CallObject object_;
  JsonScanner arguments_;
  std::string name_;
  bool has_name_ = false;
};

}  // namespace slipstream
