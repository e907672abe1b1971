#include "loader/random_block.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/rng.h"
#include "loader/float_bits.h"

namespace slipstream {
namespace {

constexpr size_t kPageBytes = 65536;  // a multiple of every page size in use
// 1021 is prime, so rows of a power of two bytes do not fall on the same numbers after few rows.
constexpr size_t kMaxPages = 1021;

// Nearly normal: the sum of four uniform numbers, scaled to mean 0 and deviation 1.
float Gaussian(uint64_t seed, uint64_t index) {
  const uint64_t u = MixBits(seed + index * 0x9e3779b97f4a7c15);
  const auto sum =
      static_cast<int32_t>((u & 0xffff) + (u >> 16 & 0xffff) + (u >> 32 & 0xffff) + (u >> 48));
  constexpr float kScale = 1.0f / 37837.2f;  // 65536 * sqrt(4 / 12)
  return static_cast<float>(sum - 131070) * kScale;
}

template <typename T, typename Convert>
void Fill(void* data, size_t bytes, const RandomBlock::Spec& spec, Convert convert) {
  const uint64_t seed = MixBits(spec.seed);
  T* out = static_cast<T*>(data);
  for (size_t i = 0; i < bytes / sizeof(T); ++i) {
    out[i] = convert(spec.mean + spec.stddev * Gaussian(seed, i));
  }
}

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

Result<RandomBlock> RandomBlock::Make(const Spec& spec) {
  RandomBlock out;
  out.block_bytes_ =
      std::min(RoundUp(std::max<size_t>(spec.total_bytes, 1), kPageBytes), kMaxPages * kPageBytes);
  // A tensor may start anywhere in the first copy.
  const size_t copies = 1 + (spec.largest_bytes + out.block_bytes_ - 1) / out.block_bytes_;
  const auto failed = [](const char* what) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("dummy weights: {}: {}", what, std::strerror(errno)));
  };
  const int fd = memfd_create("slipstream-dummy", MFD_CLOEXEC);
  if (fd < 0) return failed("memfd_create");
  void* range = MAP_FAILED;
  if (ftruncate(fd, static_cast<off_t>(out.block_bytes_)) == 0) {
    range = mmap(nullptr, copies * out.block_bytes_, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (range == MAP_FAILED) {
    close(fd);
    return failed("cannot reserve addresses");
  }
  out.data_ = static_cast<char*>(range);
  out.mapped_bytes_ = copies * out.block_bytes_;
  bool mapped = true;
  for (size_t i = 0; i < copies && mapped; ++i) {
    mapped = mmap(out.data_ + i * out.block_bytes_, out.block_bytes_, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
  }
  close(fd);
  if (!mapped) return failed("cannot map the block");
  if (spec.dtype == DType::kF32) {
    Fill<float>(out.data_, out.block_bytes_, spec, [](float f) { return f; });
  } else if (spec.dtype == DType::kF16) {
    Fill<uint16_t>(out.data_, out.block_bytes_, spec, F16FromFloat);
  } else {
    Fill<uint16_t>(out.data_, out.block_bytes_, spec, Bf16FromFloat);
  }
  mprotect(out.data_, out.mapped_bytes_, PROT_READ);  // a hint against our own bugs
  return out;
}

RandomBlock::RandomBlock(RandomBlock&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      mapped_bytes_(other.mapped_bytes_),
      block_bytes_(other.block_bytes_),
      next_(other.next_) {}

RandomBlock& RandomBlock::operator=(RandomBlock&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  std::swap(block_bytes_, other.block_bytes_);
  std::swap(next_, other.next_);
  return *this;
}

RandomBlock::~RandomBlock() {
  if (data_ != nullptr) munmap(data_, mapped_bytes_);
}

void RandomBlock::ReleasePages() const {
  // Only a hint: failure leaves the pages resident, which is correct as well.
  if (data_ != nullptr) madvise(data_, mapped_bytes_, MADV_DONTNEED);
}

const void* RandomBlock::Next(size_t bytes) {
  const void* out = data_ + next_;
  next_ = (next_ + RoundUp(bytes, 64)) % block_bytes_;
  return out;
}

}  // namespace slipstream
