#include <cstdio>

#include "backend/devices.h"
#include "tools/commands.h"

namespace slipstream {
namespace {

void Print(const Device& d) {
  std::printf("%-4s %-3d %-32s %8.1f GiB  %s\n", d.kind.c_str(), d.index, d.name.c_str(),
              d.memory_bytes / 1073741824.0, d.detail.c_str());
}

int RunDevices() {
  Print(DescribeCpu());
  const auto cuda = ListCudaDevices();
  if (!cuda) return Report(cuda.error());
  for (const Device& d : *cuda) Print(d);
  if (cuda->empty()) {
    std::puts(BuiltWithCuda() ? "no CUDA device or driver here" : "this build has no CUDA code");
  }
  return 0;
}

}  // namespace

void AddDevices(CLI::App& app, Action* action) {
  app.add_subcommand("devices", "List the processors and GPUs a model can run on")
      ->callback([action] { *action = RunDevices; });
}

}  // namespace slipstream
