// A blocking HTTP/1.1 client for one streamed POST at a time over a kept-alive TCP connection: what
// a load generator needs and no more. Used by one thread. Errors name the peer and the reason.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipstream {

struct Url {
  std::string host;
  std::string port = "80";
  std::string base_path;  // without a trailing slash
};
Result<Url> ParseUrl(const std::string& text);

class HttpStream {
 public:
  HttpStream(Url url, int timeout_seconds);
  ~HttpStream();
  HttpStream(const HttpStream&) = delete;
  HttpStream& operator=(const HttpStream&) = delete;

  // Sends the request and calls `on_event` with the data of each server-sent event as it arrives
  // ("[DONE]" included). Returns the status code; for a code other than 200 `error_body` has the
  // body. A broken connection is an error and closes it; the next Post connects again.
  Result<int> Post(const std::string& path, const std::string& headers, const std::string& body,
                   const std::function<void(std::string_view)>& on_event, std::string* error_body);

 private:
  Status Connect();
  void Close();
  Status SendAll(std::string_view data);
  Result<bool> ReadMore();         // appends to buffer_; false at end of stream
  Result<std::string> ReadLine();  // without CRLF
  Status ReadBody(int64_t bytes, const std::function<void(std::string_view)>& sink);

  Url url_;
  int timeout_seconds_;
  int fd_ = -1;
  std::string buffer_;
  size_t position_ = 0;
};

}  // namespace slipstream
