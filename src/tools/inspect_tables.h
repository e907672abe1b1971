// The parts of `slipstream inspect` that describe weights, as aligned plain text. Pure functions of
// a const checkpoint, any thread, cannot fail.
#pragma once

#include <fmt/core.h>

#include <string>
#include <vector>

#include "loader/checkpoint.h"

namespace slipstream {

using Warnings = std::vector<std::string>;

// Rows of cells, printed with two blanks before each column. Columns named in `right` lean right.
class Table {
 public:
  explicit Table(std::vector<size_t> right = {}) : right_(std::move(right)) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string Text() const;

 private:
  std::vector<size_t> right_;
  std::vector<std::vector<std::string>> rows_;
};

std::string ModelText(const Checkpoint& checkpoint);
std::string QuantizationText(const Checkpoint& checkpoint);
// Layers that are alike share a line unless `full`.
std::string TensorText(const Checkpoint& checkpoint, bool full);
// Tensors that the configuration needs and the files lack, have in another shape, or have too many.
Warnings TensorWarnings(const Checkpoint& checkpoint);

}  // namespace slipstream
