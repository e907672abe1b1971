// A block of reproducible random numbers that repeats through a range of addresses as long as the
// largest tensor needs: the same physical pages are mapped again and again, so that a 16 GB model
// costs 64 MiB of memory and milliseconds. Owns the mapping; movable; const after Make, any thread.
// Timing note: on a CPU whose last-level cache holds the block, weights are read faster than real
// ones would be; a device that copies the tensors sees no difference.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "kernels/api/types.h"

namespace slipstream {

class RandomBlock {
 public:
  struct Spec {
    DType dtype = DType::kBF16;  // F32, F16 or BF16
    float mean = 0.0f;
    float stddev = 0.02f;
    uint64_t seed = 0;
    size_t total_bytes = 0;    // of all tensors: a small model gets a small block
    size_t largest_bytes = 0;  // of one tensor
  };
  static Result<RandomBlock> Make(const Spec& spec);

  RandomBlock() = default;
  RandomBlock(RandomBlock&& other) noexcept;
  RandomBlock& operator=(RandomBlock&& other) noexcept;
  ~RandomBlock();

  // `bytes` of numbers, 64-byte aligned; successive calls start at successive places of the block.
  // REQUIRES: bytes <= largest_bytes.
  const void* Next(size_t bytes);

  // Lets the pages leave this process's resident memory, where each counts as often as it is
  // mapped; the block stays.
  void ReleasePages() const;

 private:
  char* data_ = nullptr;
  size_t mapped_bytes_ = 0;
  size_t block_bytes_ = 0;
  size_t next_ = 0;
};

}  // namespace slipstream
