// What is known of one request besides its answer: who asked, how it is traced, how long it may
// take, and what became of it. Made by the transport, filled by the generation, written to the log
// when the answer is out. The thread of the request's loop; does not fail.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "server/api_keys.h"

namespace slipstream {

struct RequestRecord {
  std::string request_id;
  std::string trace_id;  // of the caller's trace; empty: none
  std::string method, path;
  std::shared_ptr<KeyAccount> key;    // null: no key was asked for
  std::shared_ptr<KeyPermit> permit;  // held while the request is at work
  std::optional<double> max_seconds;  // what the client allows
  int64_t start_us = 0;               // NowUs() clock
  int status = 0;                     // HTTP or gRPC; 0: none was sent
  bool generated = false;             // the fields below were filled
  int64_t first_token_us = 0;         // 0: there was none
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  std::string finish;  // stop, length, abort, error
  std::string error;   // the message of an answer that failed
};

// The trace id of a W3C traceparent header (Trace Context, level 1); empty if it is not one.
std::string TraceIdOf(std::string_view traceparent);

// Up to 128 printable ASCII characters, no spaces.
bool IsSaneRequestId(std::string_view id);

// "2.5": seconds, more than 0 and at most a day.
std::optional<double> ParseSeconds(std::string_view text);

void LogRequest(LogLevel level, const RequestRecord& record);

}  // namespace slipstream
