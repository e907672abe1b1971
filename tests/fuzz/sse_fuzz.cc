// An answer with server-sent events from any bytes, as the load generator's client reads it: the
// events do not depend on how the bytes arrive.
#include <csignal>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/local_socket.h"
#include "tools/load/http_stream.h"

namespace slipstream::fuzz {
namespace {

// Sends each connection the next answer, once it has its request, and closes.
class Answering {
 public:
  Answering() {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = Loopback(INADDR_LOOPBACK, 0);
    socklen_t size = sizeof address;
    const int on = 1;
    setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    Require(bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(fd_, 16) == 0,
            "a port is free");
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    // libFuzzer's alarm is for its own thread: here it would end accept() for good.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    std::thread([this] { Run(); }).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  uint16_t port() const { return port_; }
  // Copied: a client may be done before all is sent.
  void SetNext(const std::vector<std::string_view>& pieces) {
    std::lock_guard lock(mutex_);
    next_.assign(pieces.begin(), pieces.end());
  }

 private:
  void Run() {
    for (int fd; (fd = accept(fd_, nullptr, nullptr)) >= 0;) {
      std::string request;
      char chunk[4096];
      for (ssize_t n; request.find("\r\n\r\n") == std::string::npos &&
                      (n = recv(fd, chunk, sizeof chunk, 0)) > 0;) {
        request.append(chunk, static_cast<size_t>(n));
      }
      std::vector<std::string> answer;
      {
        std::lock_guard lock(mutex_);
        answer = next_;
      }
      for (const std::string& piece : answer) {
        if (!SendAll(fd, piece)) break;
      }
      // The client reads to the end before it sees a reset.
      shutdown(fd, SHUT_WR);
      while (recv(fd, chunk, sizeof chunk, 0) > 0) {
      }
      close(fd);
    }
  }

  int fd_ = -1;
  uint16_t port_ = 0;
  std::mutex mutex_;
  std::vector<std::string> next_;
};

std::string Heard(Answering& server, const std::vector<std::string_view>& pieces) {
  server.SetNext(pieces);
  HttpStream stream({.host = "127.0.0.1", .port = std::to_string(server.port())}, 20);
  std::string heard, error_body;
  const auto status = stream.Post(
      "/", "", "", [&](std::string_view event) { heard.append(event).append("|"); }, &error_body);
  if (!status) return heard + "!" + status.error().message;
  return heard + std::to_string(*status) + error_body;
}

}  // namespace
}  // namespace slipstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipstream;  // NOLINT(google-build-using-namespace)
  static auto* server = new fuzz::Answering;
  const std::string_view text = fuzz::Text(data, size);
  const std::string whole = fuzz::Heard(*server, {text});
  const std::string cut = fuzz::Heard(*server, fuzz::Cut(text, size, 64));
  if (whole == cut) return 0;
  std::fprintf(stderr, "whole:\n%s\ncut:\n%s\n", whole.c_str(), cut.c_str());
  fuzz::Require(false, "the events do not depend on how the answer was cut");
  return 0;
}
