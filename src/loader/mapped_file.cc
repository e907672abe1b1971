#include "loader/mapped_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "loader/mapping_watch.h"

namespace slipstream {

Result<MappedFile> MappedFile::Open(const std::string& path) {
  // O_NONBLOCK: opening a pipe without a writer would wait for ever.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const auto code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kFailedPrecondition;
    return Fail(code, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  struct stat info {};
  const bool known = fstat(fd, &info) == 0;
  if (!known || !S_ISREG(info.st_mode) || info.st_size == 0) {
    close(fd);
    return InvalidArgument(
        fmt::format("{}: {}", path,
                    known && S_ISREG(info.st_mode) ? "the file is empty" : "not a regular file"));
  }
  const auto size = static_cast<size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) {
    const int map_errno = errno;
    close(fd);
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: cannot map {} bytes: {}", path, size, std::strerror(map_errno)));
  }
  MappedFile file;
  file.path_ = path;
  file.fd_ = fd;
  file.data_ = static_cast<const char*>(data);
  file.size_ = size;
  WatchMapping(data, size, path);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    Close();
    path_ = std::move(other.path_);
    fd_ = std::exchange(other.fd_, -1);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

MappedFile::~MappedFile() { Close(); }

void MappedFile::Close() {
  if (data_ != nullptr) {
    UnwatchMapping(data_);
    munmap(const_cast<char*>(data_), size_);
  }
  if (fd_ >= 0) close(fd_);
  data_ = nullptr;
  fd_ = -1;
}

FileRange MappedFile::RangeOf(const void* data) const {
  const auto* at = static_cast<const char*>(data);
  if (std::less<>()(at, data_) || !std::less<>()(at, data_ + size_)) return {};
  return {.fd = fd_, .offset = at - data_};
}

void MappedFile::ReleasePages() const {
  // Only a hint: failure leaves the pages resident, which is correct as well.
  if (data_ != nullptr) madvise(const_cast<char*>(data_), size_, MADV_DONTNEED);
}

Result<std::string> ReadSmallFile(const std::string& path, size_t max_bytes) {
  SLIP_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (file.bytes().size() > max_bytes) {
    return InvalidArgument(
        fmt::format("{}: {} bytes, the limit is {}", path, file.bytes().size(), max_bytes));
  }
  return std::string(file.bytes());
}

}  // namespace slipstream
