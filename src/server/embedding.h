// From a pooled hidden state to the vector that a client gets; HTTP and gRPC share it. Pure
// functions, any thread. FinishEmbedding fails with kInternal on states that are no numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/generation.h"
#include "server/service.h"

namespace slipstream {

struct EmbeddingOptions {
  Pooling pooling = Pooling::kLast;
  int64_t dimensions = 0;  // the first so many; 0: all
  bool normalize = true;   // to length 1, after the cut
};

// What a request gets that names nothing: the server's option, else what the model's files say,
// else the last token's state.
EmbeddingOptions DefaultEmbedding(const Service& service);
// "last" or "mean"; else nothing.
std::optional<Pooling> ParsePooling(std::string_view name);
// Makes `request` one that ends behind its prompts; dimensions are checked.
Status AskForEmbedding(const Service& service, const EmbeddingOptions& options,
                       GenerateRequest* request);

Result<std::vector<float>> FinishEmbedding(const std::vector<float>& state,
                                           const EmbeddingOptions& options);

}  // namespace slipstream
