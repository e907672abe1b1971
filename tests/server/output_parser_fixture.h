// What tests of the output parsers share: joined events, and parsing under every way of cutting.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "server/parsing/output_forms.h"

namespace slipstream::testing {

struct Call {
  std::string name, arguments;
  bool operator==(const Call&) const = default;
};

struct Parsed {
  std::string content, reasoning;
  std::vector<Call> calls;
  std::vector<OutputEvent> events;  // merged, in order
  bool operator==(const Parsed&) const = default;
};

inline void PrintTo(const Parsed& p, std::ostream* out) {
  *out << "content=" << p.content << "\nreasoning=" << p.reasoning;
  for (const Call& call : p.calls) *out << "\n" << call.name << "(" << call.arguments << ")";
}

inline Parsed Join(const OutputEvents& events) {
  Parsed parsed;
  parsed.events = events.list();
  for (const OutputEvent& event : events.list()) {
    switch (event.kind) {
      case OutputEvent::Kind::kContent:
        parsed.content += event.text;
        break;
      case OutputEvent::Kind::kReasoning:
        parsed.reasoning += event.text;
        break;
      case OutputEvent::Kind::kCallBegin:
        EXPECT_EQ(event.call, static_cast<int>(parsed.calls.size()));
        parsed.calls.push_back({event.text, ""});
        break;
      case OutputEvent::Kind::kArguments:
        EXPECT_EQ(event.call + 1, static_cast<int>(parsed.calls.size()));
        if (!parsed.calls.empty()) parsed.calls.back().arguments += event.text;
    }
  }
  return parsed;
}

inline OutputForms Forms(ToolForm tools, bool think = false) {
  OutputForms forms;
  forms.tools = tools;
  if (think) {
    forms.think_open = "<think>";
    forms.think_close = "</think>";
  }
  return forms;
}

inline OutputOptions Tools(bool parallel = true) {
  return {.tools = true, .names = {"f", "get_weather"}, .parallel = parallel};
}

inline Parsed ParsePieces(const OutputForms& forms, const OutputOptions& options,
                          const std::vector<std::string_view>& pieces) {
  const auto parser = MakeOutputParser(forms, options);
  OutputEvents events;
  for (const std::string_view piece : pieces) parser->Feed(piece, &events);
  parser->Finish(&events);
  return Join(events);
}

// Whole, byte by byte, in two at every place, and in random pieces: always the same.
inline Parsed Parse(const OutputForms& forms, std::string_view text,
                    OutputOptions options = Tools()) {
  const Parsed whole = ParsePieces(forms, options, {text});
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
  EXPECT_EQ(ParsePieces(forms, options, bytes), whole) << text;
  for (size_t i = 0; i <= text.size(); ++i) {
    EXPECT_EQ(ParsePieces(forms, options, {text.substr(0, i), text.substr(i)}), whole)
        << text.substr(0, i) << " | " << text.substr(i);
  }
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::string_view> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 9;
      pieces.push_back(text.substr(at, n));
      at += n;
    }
    EXPECT_EQ(ParsePieces(forms, options, pieces), whole) << text;
  }
  return whole;
}

inline void ExpectCalls(const Parsed& parsed, const std::vector<Call>& calls,
                        const std::string& content = "") {
  EXPECT_EQ(parsed.calls, calls) << ::testing::PrintToString(parsed);
  EXPECT_EQ(parsed.content, content);
}

}  // namespace slipstream::testing
