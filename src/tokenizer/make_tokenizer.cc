#include "loader/gguf.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {

Result<std::shared_ptr<const Tokenizer>> MakeTokenizer(const std::string& path) {
  if (!path.ends_with(".gguf")) return MakeTokenizerFromHfFolder(path);
  SLIP_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  auto vocab = ReadGgufVocab(file);
  if (!vocab) return tl::unexpected(std::move(vocab.error()).With(path));
  auto tokenizer = MakeTokenizerFromGguf(*vocab);
  if (!tokenizer) return tl::unexpected(std::move(tokenizer.error()).With(path));
  return tokenizer;
}

}  // namespace slipstream
