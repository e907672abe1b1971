// Adds up final hidden states of a step on the host. Owned by a ModelRunner, used on its thread;
// waits for the device. Errors are the backend's, step scope.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"

namespace slipstream {

class HiddenPool {
 public:
  HiddenPool(Backend& backend, int64_t hidden_size)
      : backend_(backend), hidden_size_(hidden_size) {}

  // sum = rows [begin, begin + count) of `hidden`, [rows, hidden_size] f32, bf16 or f16 in backend
  // memory, added up. REQUIRES: they exist.
  Status AddUp(TensorView hidden, int64_t begin, int64_t count, std::vector<double>* sum);

 private:
  Backend& backend_;
  int64_t hidden_size_;
  std::vector<std::byte> rows_;  // on the host, a few at a time
};

}  // namespace slipstream
