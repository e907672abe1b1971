#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/fork_join.h"
#include "base/host_memory.h"
#include "base/log_fields.h"
#include "base/metrics.h"
#include "base/open_files.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/whole_file.h"
#include "tests/loader/temp_dir.h"

namespace slipstream {
namespace {

Status Inner(bool fail) {
  if (fail) return InvalidArgument("bad value", "field");
  return {};
}
Result<int> Outer(bool fail) {
  SLIP_RETURN_IF_ERROR(Inner(fail));
  SLIP_ASSIGN_OR_RETURN(const int x, Result<int>(4));
  return x + 1;
}

TEST(Result, MacrosPassValuesAndErrors) {
  EXPECT_EQ(*Outer(false), 5);
  const auto error = Outer(true);
  ASSERT_FALSE(error);
  EXPECT_EQ(error.error().param, "field");
  EXPECT_EQ(Error(error.error()).With("file x").message, "file x: bad value");
}

TEST(BoundedQueue, RefusesWhenFullAndKeepsTheItem) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(2)));
  auto third = std::make_unique<int>(3);
  EXPECT_FALSE(queue.TryPush(std::move(third)));
  ASSERT_NE(third, nullptr);
  std::vector<std::unique_ptr<int>> out;
  EXPECT_EQ(queue.DrainTo(&out), 2u);
  EXPECT_EQ(*out[1], 2);
  queue.Close();
  EXPECT_FALSE(queue.TryPush(std::move(third)));
}

TEST(BoundedQueue, NoItemIsLostBetweenThreads) {
  BoundedQueue<int> queue(16);
  constexpr int kPerThread = 2000, kThreads = 4;
  std::vector<std::thread> producers;
  for (int t = 0; t < kThreads; ++t) {
    producers.emplace_back([&] {
      for (int i = 0; i < kPerThread; ++i) {
        int item = i;
        while (!queue.TryPush(std::move(item))) std::this_thread::yield();
      }
    });
  }
  std::vector<int> got;
  while (got.size() < kPerThread * kThreads) {
    queue.WaitFor(std::chrono::milliseconds(10));
    queue.DrainTo(&got);
  }
  for (auto& p : producers) p.join();
  int64_t sum = 0;
  for (const int x : got) sum += x;
  EXPECT_EQ(sum, int64_t{kThreads} * kPerThread * (kPerThread - 1) / 2);
}

TEST(Histogram, CountsByUpperBoundInclusive) {
  Histogram h({1, 10});
  for (const double v : {0.5, 1.0, 5.0, 11.0}) h.Observe(v);
  const auto s = h.Read();
  EXPECT_EQ(s.cumulative, (std::vector<uint64_t>{2, 3, 4}));
  EXPECT_DOUBLE_EQ(s.sum, 17.5);
}

TEST(Rng, IsUniformAndDependsOnSeedAndIndex) {
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const float u = UniformAt(7, i);
    ASSERT_GE(u, 0.0f);
    ASSERT_LT(u, 1.0f);
    sum += u;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);
  EXPECT_NE(UniformAt(7, 1), UniformAt(8, 1));
  EXPECT_NE(UniformAt(7, 1), UniformAt(7, 2));
}

TEST(ForkJoin, EveryItemOnceInEveryLoop) {
  for (const int helpers : {0, 1, 3}) {
    ForkJoin loop(helpers);
    for (int round = 0; round < 300; ++round) {
      const int count = round % 17;
      std::vector<int> calls(static_cast<size_t>(count));
      loop.Run(count, [&](int i) { ++calls[static_cast<size_t>(i)]; });
      EXPECT_EQ(std::count(calls.begin(), calls.end(), 1), count) << helpers << " helpers";
    }
  }
}

TEST(ForkJoin, HelpersTakePart) {
  ForkJoin loop(1);
  std::atomic<int> inside{0};
  // Neither call returns before the other has begun.
  loop.Run(2, [&](int) {
    ++inside;
    while (inside < 2) std::this_thread::yield();
  });
  EXPECT_EQ(inside, 2);
}

TEST(HostMemory, ReadsTheLinesItNeeds) {
  const HostMemory m = ParseHostMemory(
      "Name:\tx VmRSS: 7 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t     512 kB\n"
      "RssFile:\t     256 kB\nRssShmem:\t     256 kB\n");
  EXPECT_EQ(m.resident_bytes, 1024 << 10);
  EXPECT_EQ(m.own_bytes, 512 << 10);
  EXPECT_EQ(m.file_bytes, 256 << 10);
  EXPECT_EQ(m.shared_bytes, 256 << 10);
  EXPECT_EQ(m.peak_bytes, 2048 << 10);
  EXPECT_EQ(Describe(m), "1 MiB (own 0, files 0, shared 0; peak 2)");
  EXPECT_EQ(ParseHostMemory("").resident_bytes, 0);
  EXPECT_EQ(ParseHostMemory("VmRSS:").resident_bytes, 0);
}

TEST(HostMemory, CountsWhatIsTouched) {
  constexpr size_t kBytes = size_t{32} << 20;
  const int64_t before = ReadHostMemory().own_bytes;
  ASSERT_GT(before, 0);
  const std::vector<char> touched(kBytes, 1);
  EXPECT_GT(ReadHostMemory().own_bytes, before + static_cast<int64_t>(kBytes) / 2);
  EXPECT_EQ(touched[kBytes / 2], 1);
}

TEST(WholeFile, ReadsFilesAndSaysWhyNot) {
  const TempDir dir;
  const std::string text(10'000, 'x');
  const std::string path = dir.Write("file", text);
  EXPECT_EQ(ReadWholeFile(path, text.size()).value(), text);
  EXPECT_EQ(ReadWholeFile(dir.Write("empty", ""), 10).value(), "");
  EXPECT_EQ(ReadWholeFile("/proc/self/status", 1 << 20)->substr(0, 5), "Name:");
  EXPECT_EQ(ReadWholeFile(path, 9'999).error().message,
            path + ": has 10000 bytes, at most 9999 are read");
  const Error missing = ReadWholeFile(dir.File("none"), 10).error();
  EXPECT_EQ(missing.code, ErrorCode::kNotFound);
  EXPECT_EQ(missing.message, dir.File("none") + ": No such file or directory");
  for (const bool pipes : {false, true}) {
    for (const std::string& odd : {dir.path(), std::string("/dev/zero")}) {
      EXPECT_EQ(ReadWholeFile(odd, 10, pipes).error().message, odd + ": not a regular file");
    }
  }
}

TEST(WholeFile, ReadsAPipeOnlyWhenAsked) {
  const TempDir dir;
  const std::string pipe = dir.File("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(ReadWholeFile(pipe, 10).error().message, pipe + ": not a regular file");
  std::signal(SIGPIPE, SIG_IGN);  // the reader may leave first
  for (const size_t most : {size_t{100'000}, size_t{50'000}}) {
    std::thread writer([&] { std::ofstream(pipe) << std::string(60'000, 'x'); });
    const auto read = ReadWholeFile(pipe, most, /*pipes=*/true);
    EXPECT_EQ(read.has_value(), most > 60'000);
    writer.join();
  }
}

TEST(BurstGate, OpensOnceInABurst) {
  BurstGate gate;
  EXPECT_TRUE(gate.Enter(1));
  for (int64_t at = 0; at < 100; ++at) EXPECT_FALSE(gate.Enter(at * 5'000'000));
  EXPECT_TRUE(gate.Enter(600'000'000));
}

TEST(Log, TextsOfOthersStayOneLineOfUtf8) {
  const std::string odd = "a\xC3 \n\x1B[31m\x7F\"\xED\xA0\x80 \xC3\xA9";
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    InitLog(LogLevel::kInfo, format);
    ::testing::internal::CaptureStderr();
    LogWith(LogLevel::kInfo, "words", LogFields().Add("odd", odd).Add("high", "\xFF"));
    const std::string line = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(line.find("a\xEF\xBF\xBD \\u000a\\u001b[31m\\u007f\\\""
                        "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD \xC3\xA9\""),
              std::string::npos)
        << line;
    EXPECT_EQ(line.find('\xFF'), std::string::npos);
  }
  InitLog(LogLevel::kInfo, LogFormat::kText);
}

TEST(Log, APipeThatNobodyReadsHoldsNobodyUp) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int old = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  const std::string words(1000, 'x');
  for (int i = 0; i < 200; ++i) LogWarning("{}", words);  // a pipe holds 64 KiB
  std::string read_text(size_t{1} << 18, '\0');
  read_text.resize(static_cast<size_t>(read(ends[0], read_text.data(), read_text.size())));
  EXPECT_EQ(read_text.find("lost"), std::string::npos);
  LogWarning("after it");
  read_text.assign(10'000, '\0');
  read_text.resize(static_cast<size_t>(read(ends[0], read_text.data(), read_text.size())));
  dup2(old, STDERR_FILENO);
  for (const int fd : {old, ends[0], ends[1]}) close(fd);
  EXPECT_NE(read_text.find(" log lines before this were lost"), std::string::npos) << read_text;
  EXPECT_NE(read_text.find("after it\n"), std::string::npos) << read_text;
}

}  // namespace
}  // namespace slipstream
