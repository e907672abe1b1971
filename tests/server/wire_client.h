// A client on a plain socket, so that tests see bytes and not a library's idea of them.
#pragma once

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace slipstream::testing {

struct WireResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // unchunked
  bool complete = false;

  nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
  nlohmann::json error() const {
    const nlohmann::json j = json();
    return j.is_object() && j.contains("error") ? j["error"] : nlohmann::json();
  }
};

class WireClient {
 public:
  explicit WireClient(uint16_t port, int receive_buffer_bytes = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer_bytes > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~WireClient() { Close(); }
  WireClient(const WireClient&) = delete;
  WireClient& operator=(const WireClient&) = delete;

  bool connected() const { return connected_; }
  void Close() {
    if (ssl_ != nullptr) SSL_free(ssl_);
    ssl_ = nullptr;
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  // From here on under TLS, with any certificate. False: the server did not agree.
  bool Secure(int newest_version = TLS1_3_VERSION) {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to servers that have hung up, too
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context, newest_version);
    ssl_ = SSL_new(context);
    SSL_CTX_free(context);
    SSL_set_fd(ssl_, fd_);
    return SSL_connect(ssl_) == 1;
  }
  long peer_serial() const {
    X509* cert = SSL_get1_peer_certificate(ssl_);
    const long serial = cert == nullptr ? -1 : ASN1_INTEGER_get(X509_get0_serialNumber(cert));
    X509_free(cert);
    return serial;
  }
  // The server said that nothing follows before it closed.
  bool closed_properly() const { return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0; }

  bool Send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t n = ssl_ != nullptr
                            ? SSL_write(ssl_, data.data(), static_cast<int>(data.size()))
                            : send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      data.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  static std::string Format(const std::string& method, const std::string& path,
                            const std::string& body = "", const std::string& headers = "") {
    std::string text = fmt::format("{} {} HTTP/1.1\r\nhost: test\r\n{}", method, path, headers);
    if (!body.empty() || method == "POST") {
      if (headers.find("content-type") == std::string::npos) {
        text += "content-type: application/json\r\n";
      }
      text += fmt::format("content-length: {}\r\n", body.size());
    }
    return text + "\r\n" + body;
  }

  // Reads at most `at_most` bytes at a time from now on.
  void ReadIn(size_t at_most) { at_most_ = at_most; }

  // More bytes into the buffer; false at the end, on an error and after a silent minute: nothing
  // that a slow machine needs.
  bool Fill() {
    pollfd waiting{fd_, POLLIN, 0};
    const bool buffered = ssl_ != nullptr && SSL_pending(ssl_) > 0;
    if (!buffered && poll(&waiting, 1, 60'000) <= 0) return false;
    char chunk[65536];
    const size_t most = std::min(sizeof chunk, at_most_);
    const ssize_t n =
        ssl_ != nullptr ? SSL_read(ssl_, chunk, static_cast<int>(most)) : recv(fd_, chunk, most, 0);
    closed_ = n <= 0;
    if (closed_) return false;
    buffer_.append(chunk, static_cast<size_t>(n));
    return true;
  }

  // Waits until the raw bytes received so far and not consumed contain `text`.
  bool WaitFor(std::string_view text) {
    while (buffer_.find(text) == std::string::npos) {
      if (!Fill()) return false;
    }
    return true;
  }
  const std::string& raw() const { return buffer_; }

  WireResponse Read(bool head_only = false) {
    WireResponse response;
    while (buffer_.find("\r\n\r\n") == std::string::npos) {
      if (!Fill()) return response;
    }
    const size_t end = buffer_.find("\r\n\r\n");
    ParseHead(buffer_.substr(0, end), &response);
    buffer_.erase(0, end + 4);
    if (response.status == 100) return Read(head_only);
    if (head_only || response.status == 204) {
      response.complete = true;
    } else if (response.headers.contains("transfer-encoding")) {
      response.complete = ReadChunks(&response.body);
    } else if (response.headers.contains("content-length")) {
      const size_t length = std::stoul(response.headers["content-length"]);
      response.complete = true;
      while (buffer_.size() < length && response.complete) response.complete = Fill();
      response.body = buffer_.substr(0, length);
      buffer_.erase(0, length);
    } else {
      while (Fill()) {
      }
      response.body = std::move(buffer_);
      buffer_.clear();
      response.complete = true;
    }
    return response;
  }

  WireResponse Ask(const std::string& method, const std::string& path, const std::string& body = "",
                   const std::string& headers = "") {
    Send(Format(method, path, body, headers));
    return Read(method == "HEAD");
  }

  // Waits for the next bytes: true when there are none because the server has closed its side.
  bool AtEnd() { return !Fill() && closed_ && buffer_.empty(); }

 private:
  static void ParseHead(const std::string& head, WireResponse* response) {
    if (head.size() > 12) response->status = std::stoi(head.substr(9, 3));
    size_t at = head.find("\r\n");
    while (at != std::string::npos) {
      const size_t next = head.find("\r\n", at + 2);
      const std::string line = head.substr(at + 2, next - at - 2);
      const size_t colon = line.find(": ");
      std::string name = line.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (colon != std::string::npos) response->headers[name] = line.substr(colon + 2);
      at = next;
    }
  }

  bool ReadChunks(std::string* body) {
    while (true) {
      while (buffer_.find("\r\n") == std::string::npos) {
        if (!Fill()) return false;
      }
      const size_t line = buffer_.find("\r\n");
      const size_t size = std::stoul(buffer_.substr(0, line), nullptr, 16);
      while (buffer_.size() < line + 2 + size + 2) {
        if (!Fill()) return false;
      }
      body->append(buffer_, line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) return true;
    }
  }

  int fd_ = -1;
  SSL* ssl_ = nullptr;
  bool connected_ = false;
  bool closed_ = false;  // by the server
  size_t at_most_ = 65536;
  std::string buffer_;
};

// The data fields of a stream, in order, with the JSON ones parsed. "[DONE]" stays a string.
inline std::vector<nlohmann::json> Events(const std::string& body) {
  std::vector<nlohmann::json> events;
  size_t at = 0;
  while (at < body.size()) {
    size_t end = body.find("\n\n", at);
    if (end == std::string::npos) end = body.size();
    const std::string event = body.substr(at, end - at);
    at = end + 2;
    if (event.starts_with(":")) continue;
    if (!event.starts_with("data: ")) {
      events.push_back("not an event: " + event);
    } else if (event == "data: [DONE]") {
      events.push_back("[DONE]");
    } else {
      events.push_back(nlohmann::json::parse(event.substr(6), nullptr, false));
    }
  }
  return events;
}

}  // namespace slipstream::testing
