// Row and elementwise kernels against plain host loops, with guard words around every output.
#include "kernels/cuda/ops/ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/api/activation.h"
#include "kernels/api/norm.h"
#include "kernels/reference/convert.h"
#include "tests/kernels/cuda/device.h"

namespace slipstream::kernels {
namespace {

constexpr size_t kGuard =
    64;  // poisoned bytes before and after each array; keeps 16-byte alignment

int BytesOfElement(DType t) { return GeometryOf(t).block_bytes; }

// Device array of `n` elements of type `t`, `shift` elements past a 16-byte boundary, in poison.
class Array {
 public:
  Array(DType t, size_t n, int shift = 0)
      : t_(t),
        n_(n),
        at_(kGuard + shift * BytesOfElement(t)),
        bytes_(at_ + n * BytesOfElement(t) + kGuard) {}
  Array(DType t, const std::vector<float>& x, int shift = 0) : Array(t, x.size(), shift) {
    std::vector<unsigned char> host(x.size() * BytesOfElement(t));
    for (size_t i = 0; i < x.size(); ++i) StoreElement(&host[i * BytesOfElement(t)], t, x[i]);
    EXPECT_EQ(cudaMemcpy(get(), host.data(), host.size(), cudaMemcpyHostToDevice), cudaSuccess);
  }
  void* get() const { return bytes_.get<unsigned char>() + at_; }
  // The elements; fails the test when a guard byte was written.
  std::vector<float> Download() const {
    const auto host = bytes_.Download<unsigned char>();
    const size_t end = at_ + n_ * BytesOfElement(t_);
    for (size_t i = 0; i < host.size(); ++i) {
      if ((i < at_ || i >= end) && host[i] != 0xFF) {
        ADD_FAILURE() << "guard byte " << i << " written; data is [" << at_ << ", " << end << ")";
        break;
      }
    }
    std::vector<float> x(n_);
    for (size_t i = 0; i < n_; ++i) x[i] = LoadElement(&host[at_ + i * BytesOfElement(t_)], t_);
    return x;
  }

 private:
  DType t_;
  size_t n_, at_;
  DeviceBytes bytes_;
};

std::vector<float> Random(DType t, size_t n, uint32_t seed, float size = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> x(n);
  for (float& v : x) v = RoundTo(t, normal(rng));
  return x;
}

// Within `ulps` roundings of `t` (float32: of 2^-20), or `small` near zero.
void ExpectClose(const std::vector<float>& got, const std::vector<float>& want, DType t,
                 float ulps = 1.0f, float small = 1e-6f) {
  const float step = t == DType::kBF16 ? 0x1p-7f : t == DType::kF16 ? 0x1p-10f : 0x1p-20f;
  ASSERT_EQ(got.size(), want.size());
  float worst = 0;
  int bad = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const float error = std::fabs(got[i] - want[i]);
    worst = std::max(worst, error);
    if (error <= ulps * step * std::fabs(want[i]) + small) continue;
    if (++bad <= 5) ADD_FAILURE() << "at " << i << ": " << got[i] << ", want " << want[i];
  }
  EXPECT_EQ(bad, 0) << "of " << got.size() << " values; largest error " << worst;
}

constexpr DType kHalfTypes[] = {DType::kBF16, DType::kF16};

std::string Name(DType wide, DType half, int64_t rows, int64_t cols, int shift) {
  return std::string(NameOf(wide)) + " " + NameOf(half) + " " + std::to_string(rows) + "x" +
         std::to_string(cols) + " shift " + std::to_string(shift);
}

void CheckNorm(DType wide, DType half, int64_t rows, int64_t cols, int shift, bool residual) {
  SCOPED_TRACE(Name(wide, half, rows, cols, shift) + (residual ? " residual" : " plain"));
  const size_t n = rows * cols;
  std::vector<float> x = Random(wide, n, 1, 2.0f), delta = Random(half, n, 2), weight(cols);
  for (int64_t i = 0; i < cols; ++i) weight[i] = 1.0f + 0.01f * static_cast<float>(i % 29 - 14);
  std::vector<float> sum = x, want(n);
  if (residual) {
    for (size_t i = 0; i < n; ++i) sum[i] = RoundTo(wide, x[i] + delta[i]);
  }
  reference::RmsNorm({sum.data(), nullptr, weight.data(), want.data(), rows, cols, 1e-5f});
  for (float& v : want) v = RoundTo(half, v);
  const Array dx(wide, x, shift), dw(DType::kF32, weight), out(half, n, shift);
  KernelStatus status;
  if (residual) {
    const Array dd(half, delta, shift);
    status = AddRmsNormSm90({dx.get(), dd.get(), static_cast<const float*>(dw.get()), dd.get(),
                             wide, half, rows, cols, 1e-5f},
                            false, nullptr);
    ASSERT_EQ(status, KernelStatus::kOk);
    SLIP_CUDA_OK(cudaDeviceSynchronize());
    ExpectClose(dx.Download(), sum, wide);
    ExpectClose(dd.Download(), want, half);
    return;
  }
  status = RmsNormSm90(
      {dx.get(), static_cast<const float*>(dw.get()), out.get(), wide, half, rows, cols, 1e-5f},
      true, nullptr);
  ASSERT_EQ(status, KernelStatus::kOk);
  SLIP_CUDA_OK(cudaDeviceSynchronize());
  ExpectClose(out.Download(), want, half);
  ExpectClose(dx.Download(), x, wide, 0, 0);
}

TEST(CudaOps, RmsNorm) {
  SLIP_REQUIRE_DEVICE();
  for (const DType half : kHalfTypes) {
    for (const DType wide : {DType::kF32, half}) {
      for (const bool residual : {false, true}) {
        for (const int64_t cols : {8, 64, 576, 4096, 5120, 8192, 8200, 16384, 32768}) {
          CheckNorm(wide, half, 3, cols, 0, residual);
        }
        CheckNorm(wide, half, 300, 1024, 0, residual);
        CheckNorm(wide, half, 1, 4096, 0, residual);
        CheckNorm(wide, half, 1029, 576, 0, residual);
        for (const int64_t cols : {1, 7, 33, 577, 4099, 4100, 20001}) {
          CheckNorm(wide, half, 2, cols, 0, residual);
        }
        CheckNorm(wide, half, 2, 4096, 1, residual);  // rows off a 16-byte boundary
      }
    }
  }
}

TEST(CudaOps, RmsNormInPlaceAndRefusals) {
  SLIP_REQUIRE_DEVICE();
  const int64_t rows = 2, cols = 2048;
  const std::vector<float> x = Random(DType::kBF16, rows * cols, 3), weight(cols, 0.5f);
  std::vector<float> want(x.size());
  reference::RmsNorm({x.data(), nullptr, weight.data(), want.data(), rows, cols, 0.0f});
  const Array dx(DType::kBF16, x), dw(DType::kF32, weight);
  RmsNormSm90Params p{dx.get(),     static_cast<const float*>(dw.get()),
                      dx.get(),     DType::kBF16,
                      DType::kBF16, rows,
                      cols,         0.0f};
  ASSERT_EQ(RmsNormSm90(p, false, nullptr), KernelStatus::kOk);
  ExpectClose(dx.Download(), want, DType::kBF16);
  p.cols = 40000;
  EXPECT_EQ(RmsNormSm90(p, false, nullptr), KernelStatus::kUnsupported);
  p.cols = 2048, p.x_dtype = DType::kF16;
  EXPECT_EQ(RmsNormSm90(p, false, nullptr), KernelStatus::kUnsupported);
  p.weight = nullptr;
  EXPECT_EQ(RmsNormSm90(p, false, nullptr), KernelStatus::kInvalidArgument);
}

TEST(CudaOps, GatedActivation) {
  SLIP_REQUIRE_DEVICE();
  for (const DType t : kHalfTypes) {
    for (const bool gelu : {false, true}) {
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 14336},
                                       {5, 1536},
                                       {7, 1032},
                                       {3, 77},
                                       {70000, 8}}) {  // more rows than a grid is high
        SCOPED_TRACE(Name(t, t, rows, cols, gelu));
        std::vector<float> x = Random(t, rows * 2 * cols, 4, 3.0f), want(rows * cols);
        x[0] = RoundTo(t, -60.0f), x[1] = RoundTo(t, 60.0f), x[2] = 0.0f, x[3] = -12.0f;
        reference::GatedActivation({x.data(), want.data(), rows, cols, gelu});
        const Array in(t, x), out(t, want.size());
        ASSERT_EQ(GatedActivationSm90({in.get(), out.get(), t, rows, cols, gelu}, true, nullptr),
                  KernelStatus::kOk);
        ExpectClose(out.Download(), want, t, 1.0f, 1e-5f);
      }
    }
  }
}

TEST(CudaOps, GatedActivationByEights) {
  SLIP_REQUIRE_DEVICE();
  for (const DType t : kHalfTypes) {
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 14336}, {5, 1544}, {3, 8}}) {
      for (const int shift : {0, 1}) {
        SCOPED_TRACE(Name(t, t, rows, cols, shift));
        const std::vector<float> x = Random(t, rows * 2 * cols, 4, 3.0f);
        std::vector<float> want(rows * cols), eights(x.size());
        for (int64_t i = 0; i < rows * cols; ++i) {
          const int64_t row = i / cols * 2 * cols, column = i % cols;
          const int64_t at = row + column / 8 * 16 + column % 8;
          eights[at] = x[row + column], eights[at + 8] = x[row + cols + column];
        }
        reference::GatedActivation({x.data(), want.data(), rows, cols, shift == 1});
        const Array in(t, eights, shift), out(t, want.size());
        GatedActivationSm90Params p{in.get(), out.get(), t, rows, cols, shift == 1, true};
        ASSERT_EQ(GatedActivationSm90(p, true, nullptr), KernelStatus::kOk);
        ExpectClose(out.Download(), want, t, 1.0f, 1e-5f);
        p.cols = 4;
        EXPECT_EQ(GatedActivationSm90(p, true, nullptr), KernelStatus::kUnsupported);
      }
    }
  }
}

TEST(CudaOps, SoftCapAddConvert) {
  SLIP_REQUIRE_DEVICE();
  for (const size_t n : {1, 8, 1000, 4096, 100003}) {
    for (const int shift : {0, 1}) {
      SCOPED_TRACE(std::to_string(n) + " elements, shift " + std::to_string(shift));
      std::vector<float> x = Random(DType::kF32, n, 5, 40.0f), want = x;
      reference::SoftCap({want.data(), static_cast<int64_t>(n), 30.0f});
      const Array capped(DType::kF32, x, shift);
      ASSERT_EQ(SoftCapSm90(static_cast<float*>(capped.get()), n, 30.0f, false, nullptr),
                KernelStatus::kOk);
      ExpectClose(capped.Download(), want, DType::kF32, 4.0f);
      for (const DType half : kHalfTypes) {
        const std::vector<float> y = Random(half, n, 6);
        for (const DType wide : {DType::kF32, half}) {
          std::vector<float> sum = Random(wide, n, 7);
          const Array dx(wide, sum, shift), dy(half, y, shift);
          for (size_t i = 0; i < n; ++i) sum[i] = RoundTo(wide, sum[i] + y[i]);
          ASSERT_EQ(AddSm90(dx.get(), wide, dy.get(), half, n, true, nullptr), KernelStatus::kOk);
          ExpectClose(dx.Download(), sum, wide, 0, 0);
        }
        const Array wide(DType::kF32, x, shift), narrow(half, n, shift), back(DType::kF32, n);
        for (size_t i = 0; i < n; ++i) want[i] = RoundTo(half, x[i]);
        ASSERT_EQ(ConvertSm90(wide.get(), DType::kF32, narrow.get(), half, n, false, nullptr),
                  KernelStatus::kOk);
        ASSERT_EQ(ConvertSm90(narrow.get(), half, back.get(), DType::kF32, n, true, nullptr),
                  KernelStatus::kOk);
        ExpectClose(narrow.Download(), want, half, 0, 0);
        ExpectClose(back.Download(), want, DType::kF32, 0, 0);
      }
    }
  }
}

// Each launch may begin while the one before runs: none may read or write ahead of its turn.
TEST(CudaOps, ChainOfDependentLaunches) {
  SLIP_REQUIRE_DEVICE();
  constexpr int64_t kRows = 500, kCols = 2048, kElems = kRows * kCols;
  constexpr DType kHalf = DType::kBF16;
  const std::vector<float> ones(kElems, 1.0f);
  const Array x(DType::kF32, ones), y(kHalf, ones), normed(kHalf, kElems);
  const Array weight(DType::kF32, std::vector<float>(kCols, 3.0f));
  for (int i = 0; i < 12; ++i) {  // x doubles
    ASSERT_EQ(AddSm90(x.get(), DType::kF32, y.get(), kHalf, kElems, true, nullptr),
              KernelStatus::kOk);
    ASSERT_EQ(ConvertSm90(x.get(), DType::kF32, y.get(), kHalf, kElems, true, nullptr),
              KernelStatus::kOk);
  }
  for (int i = 0; i < 20; ++i) {  // once more, then 3 a turn: the norm of equal columns
    ASSERT_EQ(AddRmsNormSm90({x.get(), y.get(), static_cast<const float*>(weight.get()), y.get(),
                              DType::kF32, kHalf, kRows, kCols, 0.0f},
                             true, nullptr),
              KernelStatus::kOk);
  }
  ASSERT_EQ(RmsNormSm90({x.get(), static_cast<const float*>(weight.get()), normed.get(),
                         DType::kF32, kHalf, kRows, kCols, 0.0f},
                        true, nullptr),
            KernelStatus::kOk);
  SLIP_CUDA_OK(cudaDeviceSynchronize());
  const std::vector<float> want(kElems, 8192.0f + 19 * 3);
  ExpectClose(x.Download(), want, DType::kF32, 0, 0);
  ExpectClose(normed.Download(), std::vector<float>(kElems, 3.0f), kHalf);
}

TEST(CudaOps, GatherRows) {
  SLIP_REQUIRE_DEVICE();
  for (const int64_t cols : {4, 576, 5120}) {
    const int64_t source_rows = 9;
    const std::vector<int32_t> rows = {8, 0, 3, 3, -1, 9, 5};
    const std::vector<float> x = Random(DType::kF32, source_rows * cols, 8);
    std::vector<float> want(rows.size() * cols, 0.0f);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] < 0 || rows[i] >= source_rows) continue;
      std::copy_n(x.begin() + rows[i] * cols, cols, want.begin() + i * cols);
    }
    const Array in(DType::kF32, x), out(DType::kF32, want.size());
    const DeviceBytes index(rows);
    ASSERT_EQ(GatherRowsSm90({in.get(), index.get<int32_t>(), out.get(), source_rows,
                              static_cast<int64_t>(rows.size()), cols * 4},
                             true, nullptr),
              KernelStatus::kOk);
    ExpectClose(out.Download(), want, DType::kF32, 0, 0);
  }
}

TEST(CudaOps, Embed) {
  SLIP_REQUIRE_DEVICE();
  const int64_t vocab = 50;
  const std::vector<int32_t> ids = {0, 49, 50, -1, -3, -4, -5, 7, INT32_MIN, INT32_MAX};
  const std::vector<int32_t> last = {13, -1, 49, 50};  // per slot
  const std::vector<int64_t> tokens = {0, 49, -1, 13, 49, -1, -1, 7, -1, -1};
  for (const int64_t hidden : {576, 4096, 35}) {
    for (const DType table : {DType::kF32, DType::kBF16, DType::kF16}) {
      for (const DType out : {DType::kF32, DType::kBF16, DType::kF16}) {
        SCOPED_TRACE(Name(table, out, vocab, hidden, 0));
        const std::vector<float> x = Random(table, vocab * hidden, 9);
        std::vector<float> want(ids.size() * hidden, 0.0f);
        for (size_t i = 0; i < ids.size(); ++i) {
          if (tokens[i] < 0) continue;
          for (int64_t h = 0; h < hidden; ++h) {
            want[i * hidden + h] = RoundTo(out, x[tokens[i] * hidden + h] * 1.5f);
          }
        }
        const Array dt(table, x), got(out, want.size());
        const DeviceBytes did(ids), dlast(last);
        const EmbedSm90Params p{dt.get(),
                                did.get<int32_t>(),
                                dlast.get<int32_t>(),
                                got.get(),
                                table,
                                out,
                                static_cast<int64_t>(ids.size()),
                                vocab,
                                hidden,
                                static_cast<int>(last.size()),
                                1.5f};
        ASSERT_EQ(EmbedSm90(p, true, nullptr), KernelStatus::kOk);
        ExpectClose(got.Download(), want, out, 0, 0);
      }
    }
  }
}

}  // namespace
}  // namespace slipstream::kernels
