// SLIP_CHECK: aborts with file, line and words. For our own bugs only; no request, configuration
// or weight file may ever reach one.
#pragma once

#include <cstdio>
#include <cstdlib>

#define SLIP_CHECK(cond, ...)                                                      \
  do {                                                                             \
    if (!(cond)) [[unlikely]] {                                                    \
      std::fprintf(stderr, "%s:%d: check failed: %s ", __FILE__, __LINE__, #cond); \
      __VA_OPT__(std::fprintf(stderr, __VA_ARGS__);)                               \
      std::fputc('\n', stderr);                                                    \
      std::abort();                                                                \
    }                                                                              \
  } while (false)
