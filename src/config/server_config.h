// Settings of the HTTP and gRPC front end. Each field: unit, default, cost. Filled from the command
// line and --config by tools; const once the server runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace slipstream {

struct ServerConfig {
  std::string host = "127.0.0.1";  // address or name to listen on
  int port = 8000;                 // HTTP; 0: any free one
  int grpc_port = 0;               // 0: no gRPC; -1: any free one

  // Threads that own connections, detokenize and write. One carries tens of thousands of tokens
  // per second. 0: one, or two from eight cores on.
  int io_threads = 0;
  // Threads that render chat templates and encode prompts.
  int tokenizer_threads = 1;

  // Requests admitted that have no first token yet; one more is answered 429.
  int max_queued_requests = 1024;
  // Prompt tokens of requests that have no first token yet; more is answered 429. 0: no limit.
  int64_t max_queued_tokens = 1 << 20;
  int max_connections = 8192;  // of HTTP and of gRPC, each; one more is refused and closed
  size_t max_body_bytes = size_t{16} << 20;
  size_t max_header_bytes = size_t{64} << 10;
  // Bytes written but not taken by a client before it is cut off and its request cancelled.
  size_t max_pending_bytes = size_t{1} << 20;

  double header_timeout_seconds = 15;      // from the first byte of a request to its last header
  double body_timeout_seconds = 60;        // from the last header to the end of the body
  double idle_timeout_seconds = 75;        // a kept-alive connection without a request
  double write_timeout_seconds = 60;       // a client that takes no byte for so long is cut off
  double keep_alive_comment_seconds = 15;  // ": keep-alive" in streams silent for so long; 0: never
  // The longest that a request may take; clients may ask for less. 0: no limit. It then ends with
  // an error: 504, or the last event of a stream.
  double request_timeout_seconds = 0;
  double stalled_engine_seconds = 60;  // /health fails when work waits and no step ends

  // Forms of tool calls and reasoning in the model's text: "auto" reads the chat template, other
  // names are in server/parsing/output_forms.h.
  std::string tool_parser = "auto";
  std::string reasoning_parser = "auto";
  // Of embeddings whose request names none: "last", "mean", or "auto": the model's own, else last.
  std::string pooling = "auto";
  bool strict_fields = false;  // refuse requests with unknown fields instead of ignoring these

  std::vector<std::string> api_keys;  // empty: no key is asked for. /health, /metrics never ask
  // JSON: names, keys or their hashes, limits (docs/operations.md). Read again on SIGHUP.
  std::string api_keys_file;
  // PEM files; both or none. HTTP and gRPC then speak TLS only. Read again on SIGHUP.
  std::string tls_cert, tls_key;
  bool log_requests = true;  // a line for every request; probes and pages at the debug level only
  std::string metrics_compat = "none";  // "vllm": its metric names beside ours
  bool prefix_caching = true;           // the engine's setting, for that page
  bool page = true;                     // a chat and live figures at /
  bool cors = false;                    // allow browsers of any origin
};

}  // namespace slipstream
