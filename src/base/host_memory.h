// What of this process lies in memory, by the kernel's count (/proc/self/status). Any thread; all
// zeros where the system does not tell. Pages mapped twice are counted twice, pages of files
// whenever they are mapped and cached.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace slipstream {

struct HostMemory {
  int64_t resident_bytes = 0;
  int64_t own_bytes = 0;     // anonymous: heap, stacks
  int64_t file_bytes = 0;    // mapped files, libraries among them
  int64_t shared_bytes = 0;  // shared: pinned buffers may be counted here, memfds are
  int64_t peak_bytes = 0;    // most that was ever resident
};

HostMemory ReadHostMemory();

// Of a text in the form of /proc/self/status.
HostMemory ParseHostMemory(std::string_view status);

// "612 MiB (own 390, files 180, shared 42; peak 640)"
std::string Describe(const HostMemory& memory);

// A debug line with it, so that such a log tells which part of a start takes how much.
void LogHostMemory(std::string_view after);

}  // namespace slipstream
