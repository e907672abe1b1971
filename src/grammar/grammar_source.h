// What a client asks the text of an answer to be, before it is compiled. A value.
#pragma once

#include <cstdint>
#include <string>

namespace slipstream {

enum class GrammarKind : uint8_t {
  kJsonObject,  // any JSON object; `text` is empty
  kJsonSchema,  // JSON that fits the schema in `text`
  kRegex,       // all of the text matches
  kChoice,      // one of the strings of the JSON array in `text`
  kEbnf,        // GBNF: rules `name ::= ...`, the text is `root`
  kTags,        // texts and schemas put together, as the JSON of xgrammar's structural tags; not
                // for clients, since its tokens and triggers are ours
};

struct GrammarSource {
  GrammarKind kind = GrammarKind::kJsonObject;
  std::string text;
  bool strict = true;  // a schema's objects have no properties and its arrays no items it does not
                       // name, unless it says so
  std::string field;   // of the request, for errors
};

}  // namespace slipstream
