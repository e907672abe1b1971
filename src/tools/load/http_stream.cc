#include "tools/load/http_stream.h"

#include <fmt/core.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace slipstream {
namespace {

// Splits bytes into server-sent events and hands on the joined data of each.
class EventSplitter {
 public:
  explicit EventSplitter(const std::function<void(std::string_view)>& on_event)
      : on_event_(on_event) {}

  void Feed(std::string_view bytes) {
    for (size_t start = 0; start < bytes.size();) {
      const size_t end = bytes.find('\n', start);
      line_ += bytes.substr(start, end == std::string_view::npos ? end : end - start);
      if (end == std::string_view::npos) return;
      start = end + 1;
      if (!line_.empty() && line_.back() == '\r') line_.pop_back();
      if (line_.empty()) {
        if (!data_.empty()) on_event_(data_);
        data_.clear();
      } else if (line_.starts_with("data:")) {
        data_ += line_.substr(line_.size() > 5 && line_[5] == ' ' ? 6 : 5);
      }
      line_.clear();
    }
  }

 private:
  const std::function<void(std::string_view)>& on_event_;
  std::string line_, data_;
};

}  // namespace

Result<Url> ParseUrl(const std::string& text) {
  constexpr std::string_view kScheme = "http://";
  if (!text.starts_with(kScheme)) {
    return InvalidArgument(fmt::format("url {} must start with http://", text), "url");
  }
  Url url;
  std::string rest = text.substr(kScheme.size());
  if (const size_t slash = rest.find('/'); slash != std::string::npos) {
    url.base_path = rest.substr(slash);
    rest.resize(slash);
  }
  while (url.base_path.ends_with('/')) url.base_path.pop_back();
  if (const size_t colon = rest.rfind(':'); colon != std::string::npos) {
    url.port = rest.substr(colon + 1);
    rest.resize(colon);
  }
  url.host = rest;
  // getaddrinfo takes any number and keeps its low 16 bits.
  const bool digits = url.port.find_first_not_of("0123456789") == std::string::npos;
  if (url.port.empty() || !digits || url.port.size() > 5 || std::stoi(url.port) > 65535) {
    return InvalidArgument(fmt::format("url {}: the port is a number up to 65535", text), "url");
  }
  if (url.host.empty()) return InvalidArgument(fmt::format("url {} names no host", text), "url");
  return url;
}

HttpStream::HttpStream(Url url, int timeout_seconds)
    : url_(std::move(url)), timeout_seconds_(timeout_seconds) {}

HttpStream::~HttpStream() { Close(); }

void HttpStream::Close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  buffer_.clear();
  position_ = 0;
}

Status HttpStream::Connect() {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (const int rc = getaddrinfo(url_.host.c_str(), url_.port.c_str(), &hints, &found); rc != 0) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("{}:{}: {}", url_.host, url_.port, gai_strerror(rc)));
  }
  int saved = 0;
  for (const addrinfo* a = found; a != nullptr && fd_ < 0; a = a->ai_next) {
    const int fd = ::socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (fd < 0) continue;
    if (::connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
      fd_ = fd;
    } else {
      saved = errno;
      ::close(fd);
    }
  }
  freeaddrinfo(found);
  if (fd_ < 0) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("cannot connect to {}:{}: {}", url_.host, url_.port, strerror(saved)));
  }
  const int one = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  const timeval timeout{timeout_seconds_, 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  return {};
}

Status HttpStream::SendAll(std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Fail(ErrorCode::kUnavailable, fmt::format("send: {}", strerror(errno)));
    data.remove_prefix(n);
  }
  return {};
}

Result<bool> HttpStream::ReadMore() {
  if (position_ == buffer_.size()) buffer_.clear(), position_ = 0;
  char chunk[16384];
  // With a timeout set, a signal ends the wait whether its handler restarts calls or not.
  ssize_t n = 0;
  do {
    n = ::recv(fd_, chunk, sizeof chunk, 0);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return Fail(ErrorCode::kUnavailable, fmt::format("receive: {}", strerror(errno)));
  buffer_.append(chunk, n);
  return n > 0;
}

Result<std::string> HttpStream::ReadLine() {
  for (;;) {
    const size_t end = buffer_.find("\r\n", position_);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(position_, end - position_);
      position_ = end + 2;
      return line;
    }
    SLIP_ASSIGN_OR_RETURN(const bool more, ReadMore());
    if (!more) return Fail(ErrorCode::kUnavailable, "the server closed the connection");
  }
}

Status HttpStream::ReadBody(int64_t bytes, const std::function<void(std::string_view)>& sink) {
  while (bytes > 0) {
    if (position_ == buffer_.size()) {
      SLIP_ASSIGN_OR_RETURN(const bool more, ReadMore());
      if (!more) return Fail(ErrorCode::kUnavailable, "the server closed the connection");
    }
    const auto take = std::min<int64_t>(bytes, buffer_.size() - position_);
    sink(std::string_view(buffer_).substr(position_, take));
    position_ += take;
    bytes -= take;
  }
  return {};
}

Result<int> HttpStream::Post(const std::string& path, const std::string& headers,
                             const std::string& body,
                             const std::function<void(std::string_view)>& on_event,
                             std::string* error_body) {
  if (fd_ < 0) SLIP_RETURN_IF_ERROR(Connect());
  auto run = [&]() -> Result<int> {
    SLIP_RETURN_IF_ERROR(SendAll(
        fmt::format("POST {}{} HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json\r\n"
                    "Accept: text/event-stream\r\nContent-Length: {}\r\n{}\r\n",
                    url_.base_path, path, url_.host, url_.port, body.size(), headers) +
        body));
    SLIP_ASSIGN_OR_RETURN(const std::string status_line, ReadLine());
    if (status_line.size() < 12) return DataLoss("no HTTP status line");
    const int status = std::atoi(status_line.c_str() + 9);
    int64_t length = 0;
    bool chunked = false, close = false;
    for (;;) {
      SLIP_ASSIGN_OR_RETURN(std::string line, ReadLine());
      if (line.empty()) break;
      std::transform(line.begin(), line.end(), line.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      if (line.starts_with("content-length:")) length = std::atoll(line.c_str() + 15);
      if (line.starts_with("transfer-encoding:")) chunked = line.ends_with("chunked");
      if (line.starts_with("connection:")) close = line.ends_with("close");
    }
    EventSplitter splitter(on_event);
    const std::function<void(std::string_view)> sink = [&](std::string_view bytes) {
      if (status == 200) {
        splitter.Feed(bytes);
      } else {
        error_body->append(bytes.substr(0, 4096 - std::min<size_t>(4096, error_body->size())));
      }
    };
    if (!chunked) SLIP_RETURN_IF_ERROR(ReadBody(length, sink));
    while (chunked) {
      SLIP_ASSIGN_OR_RETURN(const std::string size_line, ReadLine());
      const int64_t size = std::strtoll(size_line.c_str(), nullptr, 16);
      SLIP_RETURN_IF_ERROR(ReadBody(size, sink));
      SLIP_RETURN_IF_ERROR(ReadLine());
      if (size == 0) break;
    }
    if (close) Close();
    return status;
  };
  auto result = run();
  if (!result) Close();
  return result;
}

}  // namespace slipstream
