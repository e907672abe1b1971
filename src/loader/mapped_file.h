// A regular file mapped read-only into memory. Owns the mapping and gives it back on destruction;
// movable, and the address survives a move. Any thread may read. Opening fails with a value for
// anything that is not a readable, non-empty regular file (it never waits on a pipe or device).
// A file that another process shortens while it is mapped raises SIGBUS, the system's rule: the
// process then ends with a line that names the file (mapping_watch.h).
#pragma once

#include <string>
#include <string_view>

#include "base/file_range.h"
#include "base/result.h"

namespace slipstream {

class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::string_view bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  // Where `data` lies in the file; nowhere if it does not point into bytes(). Without a path.
  FileRange RangeOf(const void* data) const;

  // Lets the pages leave this process's resident memory; reading them again fetches them again.
  void ReleasePages() const;

 private:
  void Close();

  std::string path_;
  int fd_ = -1;
  const char* data_ = nullptr;
  size_t size_ = 0;
};

// Whole text of a small file, at most `max_bytes`.
Result<std::string> ReadSmallFile(const std::string& path, size_t max_bytes);

}  // namespace slipstream
