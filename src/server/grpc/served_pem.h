// A certificate for gRPC, which reads it from a file it looks at again and again: one in memory,
// that holds only what was found good. gRPC itself would take a damaged file and refuse every
// client. Owned by GrpcServer; Set from any one thread at a time.
#pragma once

#include <string>

#include "base/result.h"

namespace slipstream {

class ServedPem {
 public:
  ServedPem() = default;
  ~ServedPem();
  ServedPem(const ServedPem&) = delete;
  ServedPem& operator=(const ServedPem&) = delete;

  // Key and chain, as one text. In place of an old one at once: a reader has one or the other.
  Status Set(const std::string& text);
  // Of a file with both, from the first Set on.
  std::string path() const;

 private:
  int fd_ = -1;
};

}  // namespace slipstream
