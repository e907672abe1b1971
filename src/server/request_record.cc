#include "server/request_record.h"

#include <algorithm>
#include <charconv>

#include "base/clock.h"
#include "base/log_fields.h"

namespace slipstream {
namespace {

bool IsLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

std::string Printable(std::string_view text) {
  std::string out(text.substr(0, 200));
  for (char& c : out) {
    if (c <= 0x20 || c >= 0x7F) c = '?';
  }
  return out;
}

}  // namespace

std::string TraceIdOf(std::string_view traceparent) {
  // version "-" trace-id "-" parent-id "-" flags; later versions may add fields behind.
  constexpr size_t kLength = 55;
  if (traceparent.size() < kLength) return {};
  const std::string_view version = traceparent.substr(0, 2), trace = traceparent.substr(3, 32),
                         parent = traceparent.substr(36, 16), flags = traceparent.substr(53, 2);
  if (traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-') return {};
  if (!IsLowerHex(version) || !IsLowerHex(trace) || !IsLowerHex(parent) || !IsLowerHex(flags)) {
    return {};
  }
  if (version == "ff" || IsZero(trace) || IsZero(parent)) return {};
  if (traceparent.size() > kLength && (version == "00" || traceparent[kLength] != '-')) return {};
  return std::string(trace);
}

bool IsSaneRequestId(std::string_view id) {
  return !id.empty() && id.size() <= 128 &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

std::optional<double> ParseSeconds(std::string_view text) {
  constexpr double kDay = 86400;
  double value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!(value > 0 && value <= kDay)) return std::nullopt;
  return value;
}

void LogRequest(LogLevel level, const RequestRecord& record) {
  if (!LogEnabled(level)) return;
  LogFields fields;
  fields.Add("request_id", record.request_id);
  if (!record.trace_id.empty()) fields.Add("trace_id", record.trace_id);
  if (record.key) fields.Add("key", record.key->name());
  // Both are bytes of anybody's choice.
  fields.Add("method", Printable(record.method)).Add("path", Printable(record.path));
  fields.Add("status", int64_t{record.status});
  fields.AddSeconds("duration_seconds", static_cast<double>(NowUs() - record.start_us) * 1e-6);
  if (record.generated) {
    if (record.first_token_us != 0) {
      fields.AddSeconds("ttft_seconds",
                        static_cast<double>(record.first_token_us - record.start_us) * 1e-6);
    }
    fields.Add("prompt_tokens", record.prompt_tokens)
        .Add("completion_tokens", record.completion_tokens)
        .Add("cached_tokens", record.cached_tokens)
        .Add("finish", record.finish);
  }
  if (!record.error.empty()) fields.Add("error", std::string_view(record.error).substr(0, 500));
  LogWith(level, "request", fields);
}

}  // namespace slipstream
