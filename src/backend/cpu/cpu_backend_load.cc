// What CpuBackend does at load time: memory, weights, and its own construction.

#include <sched.h>
#include <sys/sysinfo.h>

#include <cstdio>
#include <fstream>
#include <new>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "backend/cpu/cpu_backend.h"

namespace slipstream {
namespace {

class CpuBuffer : public Buffer {
 public:
  CpuBuffer(std::unique_ptr<Arena> memory, void* data, size_t bytes)
      : memory_(std::move(memory)), data_(data), bytes_(bytes) {}
  void* data() override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  std::unique_ptr<Arena> memory_;
  void* data_;
  size_t bytes_;
};

tl::unexpected<Error> OutOfMemory(const char* what) {
  return Fail(ErrorCode::kResourceExhausted, std::string("out of memory for ") + what);
}

// Hyper-threads of one core share its vector units, so only cores count.
int PhysicalCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return 1;
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string dir = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    int package = 0, core = cpu;
    std::ifstream(dir + "physical_package_id") >> package;
    if (!(std::ifstream(dir + "core_id") >> core)) core = cpu;
    cores.emplace(package, core);
  }
  return cores.empty() ? 1 : static_cast<int>(cores.size());
}

}  // namespace

size_t CpuBackend::free_memory_bytes() const {
  std::ifstream info("/proc/meminfo");
  std::string key, unit;
  size_t kib = 0;
  while (info >> key >> kib && std::getline(info, unit)) {
    if (key == "MemAvailable:") return kib * 1024;
  }
  struct sysinfo memory {};  // no /proc, as in a bare chroot: free pages, caches not counted
  if (sysinfo(&memory) != 0) return 0;
  return static_cast<size_t>(memory.freeram) * memory.mem_unit;
}

Result<std::unique_ptr<Buffer>> CpuBackend::Allocate(size_t bytes) {
  try {
    if (bytes == 0) return std::make_unique<CpuBuffer>(nullptr, nullptr, 0);
    auto memory = std::make_unique<Arena>(/*huge_pages=*/false);
    void* data = memory->Allocate(bytes);
    if (data == nullptr) {
      return Fail(ErrorCode::kResourceExhausted,
                  "out of memory for a buffer of " + std::to_string(bytes) + " bytes");
    }
    return std::make_unique<CpuBuffer>(std::move(memory), data, bytes);
  } catch (const std::bad_alloc&) {
    return OutOfMemory("a buffer");
  }
}

Result<std::unique_ptr<Linear>> CpuBackend::MakeLinear(std::span<const WeightView> parts,
                                                       std::span<const float> bias) {
  if (parts.empty()) return InvalidArgument("a linear layer needs a weight");
  try {
    std::vector<LinearSegment> segments;
    int64_t row = 0;
    for (size_t begin = 0, end = 0; begin < parts.size(); begin = end) {
      while (end < parts.size() && parts[end].dtype == parts[begin].dtype) {
        if (parts[end].cols != parts.front().cols) {
          return InvalidArgument("weights of one linear layer differ in their columns");
        }
        ++end;
      }
      SLIP_ASSIGN_OR_RETURN(kernels::PackedMatrix matrix,
                            PackParts(parts.subspan(begin, end - begin), *arena_, pool_));
      segments.push_back({matrix, row});
      row += matrix.rows;
    }
    if (!bias.empty() && static_cast<int64_t>(bias.size()) != row) {
      return InvalidArgument("a bias of " + std::to_string(bias.size()) + " values for " +
                             std::to_string(row) + " outputs");
    }
    return std::make_unique<CpuLinear>(std::move(segments),
                                       std::vector<float>(bias.begin(), bias.end()), arena_);
  } catch (const std::bad_alloc&) {
    return OutOfMemory("a linear layer");
  }
}

Result<std::unique_ptr<EmbeddingTable>> CpuBackend::MakeEmbedding(const WeightView& table) {
  try {
    SLIP_ASSIGN_OR_RETURN(kernels::PackedMatrix matrix, PackParts({&table, 1}, *arena_, pool_));
    return std::make_unique<CpuEmbedding>(matrix, arena_);
  } catch (const std::bad_alloc&) {
    return OutOfMemory("an embedding table");
  }
}

Result<std::unique_ptr<Linear>> CpuBackend::MakeTiedLinear(EmbeddingTable& table) {
  try {
    const auto& embedding = static_cast<const CpuEmbedding&>(table);
    return std::make_unique<CpuLinear>(std::vector<LinearSegment>{{embedding.matrix(), 0}},
                                       std::vector<float>{}, embedding.arena());
  } catch (const std::bad_alloc&) {
    return OutOfMemory("a linear layer");
  }
}

Result<std::unique_ptr<Backend>> MakeCpuBackend(int num_threads) {
  constexpr int kMaxThreads = 1024;
  if (num_threads < 0 || num_threads > kMaxThreads) {
    return InvalidArgument("threads must be 0 to 1024, not " + std::to_string(num_threads),
                           "threads");
  }
  try {
    return std::make_unique<CpuBackend>(kernels::BestKernels(),
                                        num_threads == 0 ? PhysicalCores() : num_threads);
  } catch (const std::system_error& e) {
    return Fail(ErrorCode::kResourceExhausted, std::string("cannot start threads: ") + e.what());
  } catch (const std::bad_alloc&) {
    return OutOfMemory("the CPU backend");
  }
}

}  // namespace slipstream
