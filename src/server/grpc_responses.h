// Answers of gRPC calls by method and status code, for ServerMetrics. Relaxed atomics, any thread;
// needs no gRPC, for a server may be built or started without.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "base/metrics.h"

namespace slipstream {

struct GrpcMethodResponses {
  // The canonical codes, 0 to 16.
  static constexpr std::array<std::string_view, 17> kCodes = {"OK",
                                                              "CANCELLED",
                                                              "UNKNOWN",
                                                              "INVALID_ARGUMENT",
                                                              "DEADLINE_EXCEEDED",
                                                              "NOT_FOUND",
                                                              "ALREADY_EXISTS",
                                                              "PERMISSION_DENIED",
                                                              "RESOURCE_EXHAUSTED",
                                                              "FAILED_PRECONDITION",
                                                              "ABORTED",
                                                              "OUT_OF_RANGE",
                                                              "UNIMPLEMENTED",
                                                              "INTERNAL",
                                                              "UNAVAILABLE",
                                                              "DATA_LOSS",
                                                              "UNAUTHENTICATED"};

  std::string_view method;
  std::array<Counter, kCodes.size()> by_code{};

  Counter& Of(int code) {
    constexpr size_t kUnknown = 2;
    const auto index = static_cast<size_t>(code);  // a negative one becomes too large
    return by_code[index < by_code.size() ? index : kUnknown];
  }
};

}  // namespace slipstream
