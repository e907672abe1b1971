// A GGUF file as a Checkpoint. Owns the mapped file; see checkpoint.h for threads and errors.
#pragma once

#include <memory>
#include <string>

#include "loader/gguf.h"
#include "loader/tensor_table.h"

namespace slipstream {

class GgufCheckpoint final : public TableCheckpoint {
 public:
  static Result<std::unique_ptr<GgufCheckpoint>> Open(const std::string& path);

  std::string_view format() const override { return "gguf"; }
  void ReleasePages() const override { gguf_.ReleasePages(); }
  // The file with its metadata: tokenizer, chat template.
  const GgufFile& gguf() const { return gguf_; }

 private:
  explicit GgufCheckpoint(GgufFile gguf) : gguf_(std::move(gguf)) {}
  GgufFile gguf_;
};

}  // namespace slipstream
