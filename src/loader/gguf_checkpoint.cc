#include "loader/gguf_checkpoint.h"

#include "loader/gguf_config.h"

namespace slipstream {

Result<std::unique_ptr<GgufCheckpoint>> GgufCheckpoint::Open(const std::string& path) {
  SLIP_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  SLIP_ASSIGN_OR_RETURN(ModelConfig config, GgufModelConfig(file));
  std::unique_ptr<GgufCheckpoint> out(new GgufCheckpoint(std::move(file)));
  for (const GgufTensor& t : out->gguf_.tensors()) {
    SLIP_RETURN_IF_ERROR(out->Add({.name = HfTensorName(config.architecture, t.name),
                                   .file_name = std::string(t.name),
                                   .file = path,
                                   .dtype = t.dtype,
                                   .shape = t.shape,
                                   .data = t.foreign_type.empty() ? t.data : nullptr,
                                   .bytes = t.bytes,
                                   .range = out->gguf_.RangeOf(t.data),
                                   .foreign_type = t.foreign_type}));
  }
  out->set(path, std::move(config));
  return out;
}

}  // namespace slipstream
