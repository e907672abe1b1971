// Log probabilities in the two shapes of the OpenAI API. Pure functions over a tokenizer; tokens
// whose bytes are not text by themselves show U+FFFD in "token" and their bytes in "bytes".
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/forward_input.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {

// One entry of chat's logprobs.content: {"token","logprob","bytes","top_logprobs"}.
void AppendChatLogprob(std::string* out, const Tokenizer& tokenizer, const SampledToken& token,
                       int num_top);

// Of every token of a prompt, in vLLM's shape: [null,{"ID":{"logprob","rank","decoded_token"},...},
// ...]. The first has none; the others bring the token itself and the `num_top` most likely ones.
void AppendPromptLogprobs(std::string* out, const Tokenizer& tokenizer,
                          const std::vector<SampledToken>& logprobs, int num_top);

// The parallel arrays of a completion's logprobs, grown token by token; offsets count characters.
class CompletionLogprobs {
 public:
  explicit CompletionLogprobs(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // The first prompt token has no probability: null in both arrays.
  void AddUnscored(int32_t token);
  void Add(const SampledToken& token, int num_top);
  bool empty() const { return tokens_.empty(); }
  // {"tokens":[...],"token_logprobs":[...],"top_logprobs":[...],"text_offset":[...]}
  void AppendTo(std::string* out) const;
  // Forgets the entries, goes on with the offsets.
  void Clear();

 private:
  void AddToken(int32_t token);

  const Tokenizer& tokenizer_;
  std::string tokens_, logprobs_, tops_, offsets_;  // array bodies
  long long offset_ = 0;
};

}  // namespace slipstream
