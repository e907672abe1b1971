// A .gguf file: metadata, tensors, configuration and vocabulary from any bytes. A tokenizer that
// could be made encodes text.
#include "loader/gguf.h"
#include "loader/gguf_config.h"
#include "tests/fuzz/fuzz.h"
#include "tokenizer/gguf_vocab.h"
#include "tokenizer/tokenizer.h"

namespace slipstream::fuzz {
namespace {

void ReadValues(const GgufFile& file) {
  for (const auto& [key, value] : file.metadata()) {
    static_cast<void>(file.Int(key));
    static_cast<void>(file.Float(key));
    static_cast<void>(file.String(key));
    static_cast<void>(file.Strings(key));
    static_cast<void>(file.Ints(key));
    static_cast<void>(file.Floats(key));
  }
  unsigned sum = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    const auto* bytes = static_cast<const uint8_t*>(tensor.data);
    for (size_t i = 0; i < tensor.bytes; ++i) sum += bytes[i];
  }
  volatile unsigned sink = sum;
  static_cast<void>(sink);
}

void UseVocabulary(const GgufFile& file) {
  const auto vocab = ReadGgufVocab(file);
  if (!vocab) return RequireReadable(vocab.error());
  const auto tokenizer = MakeTokenizerFromGguf(*vocab);
  if (!tokenizer) return RequireReadable(tokenizer.error());
  for (const char* text :
       {"Hello world, 12345 \xC3\xA9\xF0\x9F\x98\x80 \xFF", "<|im_end|>ab\n\n  a"}) {
    const auto ids = (*tokenizer)->Encode(text, {.parse_special = true});
    if (!ids) return RequireReadable(ids.error());
    for (const int32_t id : *ids) {
      Require(id >= 0 && id < (*tokenizer)->vocab_size(), "an id is in the vocabulary");
    }
  }
}

}  // namespace
}  // namespace slipstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipstream;  // NOLINT(google-build-using-namespace)
  const auto file = GgufFile::Parse("m.gguf", fuzz::Text(data, size));
  if (!file) {
    fuzz::RequireReadable(file.error());
    return 0;
  }
  fuzz::ReadValues(*file);
  if (const auto config = GgufModelConfig(*file); !config) fuzz::RequireReadable(config.error());
  fuzz::UseVocabulary(*file);
  return 0;
}
