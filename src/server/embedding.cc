#include "server/embedding.h"

#include <fmt/core.h>

#include <cmath>
#include <string>

namespace slipstream {

EmbeddingOptions DefaultEmbedding(const Service& service) {
  const std::string& option = service.config().pooling;
  EmbeddingOptions options;
  options.pooling =
      ParsePooling(option == "auto" ? service.model().pooling : option).value_or(Pooling::kLast);
  return options;
}

std::optional<Pooling> ParsePooling(std::string_view name) {
  if (name == "last") return Pooling::kLast;
  if (name == "mean") return Pooling::kMean;
  return std::nullopt;
}

Status AskForEmbedding(const Service& service, const EmbeddingOptions& options,
                       GenerateRequest* request) {
  const int64_t hidden_size = service.engine().info().hidden_size;
  if (hidden_size <= 0) {
    return Fail(ErrorCode::kUnimplemented, "this model makes no embeddings");
  }
  if (options.dimensions < 0 || options.dimensions > hidden_size) {
    return InvalidArgument(
        fmt::format("dimensions must be between 1 and {}, what this model has, not {}", hidden_size,
                    options.dimensions),
        "dimensions");
  }
  request->pooling = options.pooling;
  request->num_choices = 1;
  request->params.max_tokens = 0;
  request->max_tokens_is_rest_of_context = false;
  return {};
}

Result<std::vector<float>> FinishEmbedding(const std::vector<float>& state,
                                           const EmbeddingOptions& options) {
  std::vector<float> out = state;
  if (options.dimensions > 0) out.resize(static_cast<size_t>(options.dimensions));
  double sum = 0;
  for (const float x : out) sum += static_cast<double>(x) * x;
  if (!std::isfinite(sum) || out.empty()) {
    return Internal("the model's hidden states are not finite numbers");
  }
  if (options.normalize && sum > 0) {
    const double scale = 1.0 / std::sqrt(sum);
    for (float& x : out) x = static_cast<float>(x * scale);
  }
  return out;
}

}  // namespace slipstream
