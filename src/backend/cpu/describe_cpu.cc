#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>

#include "backend/devices.h"
#include "kernels/api/cpu_kernels.h"

namespace slipstream {

Device DescribeCpu() {
  Device device;
  device.kind = "cpu";
  device.name = "unknown processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      device.name = line.substr(colon + 2);
      break;
    }
  }
  const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page_bytes > 0) {
    device.memory_bytes = static_cast<size_t>(pages) * static_cast<size_t>(page_bytes);
  }
  device.detail = std::to_string(std::thread::hardware_concurrency()) + " threads, kernels " +
                  kernels::BestKernels().name;
  return device;
}

}  // namespace slipstream
