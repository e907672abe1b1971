// Which instruction sets this machine and operating system offer.
#include <cstdlib>
#include <cstring>

#include "kernels/api/cpu_kernels.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace slipstream::kernels {

namespace cpu_portable {
extern const CpuKernels kTable;
}
#ifdef __x86_64__
namespace cpu_avx2 {
extern const CpuKernels kTable;
}
namespace cpu_avx512 {
extern const CpuKernels kTable;
}
namespace cpu_amx {
extern const CpuKernels kTable;
}

namespace {

// Not a name that every compiler's __builtin_cpu_supports knows.
bool HasF16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kF16c = 1u << 29;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & kF16c) != 0;
}

// __builtin_cpu_supports checks CPUID and that the system saves the wide registers.
bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

// Tile registers: CPUID leaf 7 says so, and Linux must be asked for permission to use them.
bool HasAmx() {
#ifdef __linux__
  uint32_t a = 7, b = 0, c = 0, d = 0;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  constexpr uint32_t kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
  constexpr uint32_t kAll = kAmxBf16 | kAmxTile | kAmxInt8;
  if (!HasAvx512() || !__builtin_cpu_supports("avx512bf16") || (d & kAll) != kAll) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace
#elif defined(__aarch64__)
namespace cpu_neon {
extern const CpuKernels kTable;
}
namespace cpu_neon_dot {
extern const CpuKernels kTable;
}

namespace {

bool HasDotProducts() {
#ifdef __linux__
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return false;
#endif
}

}  // namespace
#endif

const CpuKernels* KernelsFor(Isa isa) {
  if (isa == Isa::kPortable) return &cpu_portable::kTable;
#ifdef __x86_64__
  static const bool has_avx2 = HasAvx2(), has_avx512 = HasAvx512(), has_amx = HasAmx();
  switch (isa) {
    case Isa::kAvx2:
      return has_avx2 ? &cpu_avx2::kTable : nullptr;
    case Isa::kAvx512:
      return has_avx512 ? &cpu_avx512::kTable : nullptr;
    case Isa::kAmx:
      return has_amx ? &cpu_amx::kTable : nullptr;
    default:
      break;
  }
#elif defined(__aarch64__)
  static const bool has_dot = HasDotProducts();
  if (isa == Isa::kNeon) return &cpu_neon::kTable;  // every AArch64 processor has it
  if (isa == Isa::kNeonDot && has_dot) return &cpu_neon_dot::kTable;
#endif
  return nullptr;
}

const CpuKernels& BestKernels() {
  constexpr struct {
    const char* name;
    Isa isa;
  } kLevels[] = {{"amx", Isa::kAmx},   {"avx512", Isa::kAvx512},
                 {"avx2", Isa::kAvx2}, {"neon_dot", Isa::kNeonDot},
                 {"neon", Isa::kNeon}, {"portable", Isa::kPortable}};
  const char* wanted = std::getenv("SLIPSTREAM_ISA");
  bool allowed = wanted == nullptr;
  for (const auto& level : kLevels) {
    allowed = allowed || std::strcmp(wanted, level.name) == 0;
    const CpuKernels* kernels = allowed ? KernelsFor(level.isa) : nullptr;
    if (kernels != nullptr) return *kernels;
  }
  return *KernelsFor(Isa::kPortable);
}

}  // namespace slipstream::kernels
