// The served model as clients see it. A plain value, const once the server runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace slipstream {

struct ModelInfo {
  std::string name;
  std::vector<std::string> aliases;  // further names accepted in "model"
  int64_t created = 0;               // Unix seconds
  int64_t max_model_len = 0;         // tokens of prompt plus answer
  std::string root;                  // where it was loaded from; shown in /v1/models
  std::string pooling;               // of embeddings: "last" or "mean"; empty: its files name none
};

}  // namespace slipstream
