#include "server/grpc/served_pem.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace slipstream {

ServedPem::~ServedPem() {
  if (fd_ >= 0) close(fd_);
}

Status ServedPem::Set(const std::string& text) {
  const int fd = memfd_create("certificate", MFD_CLOEXEC);
  const bool written =
      fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const bool in_place = written && (fd_ < 0 || dup3(fd, fd_, O_CLOEXEC) >= 0);
  const int code = errno;
  if (in_place && fd_ < 0) {
    fd_ = fd;
  } else if (fd >= 0) {
    close(fd);
  }
  if (in_place) return {};
  return Internal(fmt::format("the certificate cannot be kept for gRPC: {}", std::strerror(code)));
}

std::string ServedPem::path() const { return fmt::format("/proc/self/fd/{}", fd_); }

}  // namespace slipstream
