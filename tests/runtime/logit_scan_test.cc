#include "runtime/logit_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace slipstream {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Values from few distinct ones when `levels` > 0, so that there are ties.
std::vector<float> RandomRow(int size, int levels, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 4.0f);
  std::vector<float> out(size);
  for (float& x : out) {
    x = normal(random);
    if (levels > 0) x = std::round(x * levels / 4.0f);
  }
  return out;
}

std::vector<int32_t> SortedIds(const std::vector<float>& row) {
  std::vector<int32_t> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return row[a] > row[b]; });
  return ids;
}

TEST(LogitScanTest, AgreesWithAFullSort) {
  LogitScan scan;
  for (const int size : {1, 15, 16, 127, 128, 129, 1000, 5000}) {
    for (const int levels : {0, 1, 3}) {
      const std::vector<float> row = RandomRow(size, levels, size + levels);
      const std::vector<int32_t> ids = SortedIds(row);
      ASSERT_TRUE(scan.Load(row));
      EXPECT_EQ(scan.Argmax(), ids[0]);
      EXPECT_EQ(scan.max(), row[ids[0]]);
      for (const int k : {1, 2, 7, 50, 4000}) {
        if (k > size) continue;
        const auto& best = scan.Largest(k);
        ASSERT_EQ(static_cast<int>(best.size()), k);
        for (int i = 0; i < k; ++i) EXPECT_EQ(best[i].token, ids[i]) << size << ' ' << levels;
      }
      for (const int place : {0, size / 3, size - 1}) {
        EXPECT_EQ(RankOf(row, ids[place]), place + 1);
      }
    }
  }
}

TEST(LogitScanTest, FindsWhatIsNotFinite) {
  LogitScan scan;
  for (const int size : {5, 16, 300}) {
    for (const int at : {0, size / 2, size - 1}) {
      std::vector<float> row(size, 1.0f);
      row[at] = std::nanf("");
      EXPECT_FALSE(scan.Load(row)) << size << ' ' << at;
      row[at] = kInfinity;
      EXPECT_FALSE(scan.Load(row));
      row[at] = -kInfinity;  // a masked token
      EXPECT_TRUE(scan.Load(row));
    }
  }
  EXPECT_FALSE(scan.Load(std::vector<float>(40, -kInfinity)));
}

TEST(LogitScanTest, ExponentialIsAccurate) {
  for (float x = -86.9f; x <= 0.0f; x += 0.01f) {
    EXPECT_NEAR(ExpOfNegative(x) / std::exp(static_cast<double>(x)), 1.0, 1e-6) << x;
  }
  EXPECT_EQ(ExpOfNegative(0.0f), 1.0f);
  EXPECT_EQ(ExpOfNegative(-1000.0f), 0.0f);
  EXPECT_EQ(ExpOfNegative(-kInfinity), 0.0f);
}

TEST(LogitScanTest, SumsAndDrawsEqualDoubles) {
  LogitScan scan;
  const std::vector<float> row = RandomRow(777, 0, 5);
  ASSERT_TRUE(scan.Load(row));
  const float floor = -1.0f, inverse = 0.7f;
  std::vector<double> running;
  double sum = 0;
  for (const float x : row) {
    sum += x >= floor ? std::exp((static_cast<double>(x) - scan.max()) * inverse) : 0.0;
    running.push_back(sum);
  }
  const double total = scan.SumExp(inverse, floor);
  EXPECT_NEAR(total / sum, 1.0, 1e-6);
  for (double u = 0.0005; u < 1.0; u += 0.001) {
    const auto expected = std::upper_bound(running.begin(), running.end(), u * sum);
    const int32_t got = scan.TokenAtSum(u * total);
    EXPECT_GE(row[got], floor);
    // A draw within rounding of a boundary may fall on either side of it.
    EXPECT_NEAR(running[got], *expected, 1e-4 * sum + *expected - running[got]);
    EXPECT_GE(running[got] + 1e-5 * sum, u * sum);
  }
  EXPECT_GE(row[scan.TokenAtSum(total * 2)], floor);
}

}  // namespace
}  // namespace slipstream
