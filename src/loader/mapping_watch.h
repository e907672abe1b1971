// Says which file it was when one that is mapped becomes shorter under its reader: the system then
// raises SIGBUS in the middle of a load or copy, where no error can be returned. The process ends
// with status 1 and one line on stderr. Any other SIGBUS ends it as without this. Any thread; no
// failure (more files than the table holds are mapped unwatched). Source: mmap(2),
// signal-safety(7).
#pragma once

#include <cstddef>
#include <string>

namespace slipstream {

void WatchMapping(const void* data, size_t size, const std::string& path);
// Before the mapping is given back.
void UnwatchMapping(const void* data);

}  // namespace slipstream
