// A .safetensors file: any bytes give tensors that lie in the file, or an error.
#include "loader/safetensors.h"
#include "tests/fuzz/fuzz.h"

using namespace slipstream;  // NOLINT(google-build-using-namespace)

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = SafetensorsFile::Parse("m.safetensors", fuzz::Text(data, size));
  if (!file) {
    fuzz::RequireReadable(file.error());
    return 0;
  }
  unsigned sum = 0;
  for (const Safetensor& tensor : file->tensors()) {
    const auto* bytes = static_cast<const uint8_t*>(tensor.data);
    for (size_t i = 0; i < tensor.bytes; ++i) sum += bytes[i];
  }
  volatile unsigned sink = sum;
  static_cast<void>(sink);
  return 0;
}
