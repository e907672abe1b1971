// A tokenizer.json: any bytes give a tokenizer or an error, and the tokenizer encodes text to ids
// of its vocabulary and back.
#include <utility>

#include "tests/fuzz/fuzz.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/pipeline_tokenizer.h"
#include "tokenizer/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipstream;  // NOLINT(google-build-using-namespace)
  const std::string_view text = fuzz::Text(data, size);
  auto parsed = ParseTokenizerJson(text);
  if (!parsed) {
    fuzz::RequireReadable(parsed.error());
    return 0;
  }
  const auto tokenizer =
      std::make_shared<PipelineTokenizer>(std::move(parsed->table), std::move(parsed->pipeline));
  for (const std::string_view sample :
       {std::string_view("Hello  world, it's 12345\n\xC3\xA9\xE2\x80\x8D\xF0\x9F\x98\x80 \xFF<s>"),
        text.substr(0, 200), text.substr(text.size() / 2, 200)}) {
    const auto ids = tokenizer->Encode(sample, {.parse_special = true});
    if (!ids) {
      fuzz::RequireReadable(ids.error());
      continue;
    }
    for (const int32_t id : *ids) {
      fuzz::Require(id >= 0 && id < tokenizer->vocab_size(), "an id is in the vocabulary");
    }
    static_cast<void>(Decode(tokenizer, *ids, {}));
  }
  return 0;
}
