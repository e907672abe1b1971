// Errors as values for every folder of src/. Result<T> is tl::expected<T, Error>; Error holds a
// canonical code (gRPC's set, so one table maps it to HTTP and OpenAI types), a message for the
// user that names what is wrong, and context prepended on the way up. Plain values, any thread.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace slipstream {

// Values equal the gRPC canonical codes.
enum class ErrorCode : int {
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

struct Error {
  ErrorCode code = ErrorCode::kUnknown;
  std::string message;
  std::string param;  // name of the request field or option at fault, if there is one

  // Prepends "context: " to the message.
  Error&& With(std::string context) && {
    message = std::move(context) + ": " + message;
    return std::move(*this);
  }
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

[[nodiscard]] inline tl::unexpected<Error> Fail(ErrorCode code, std::string message,
                                                std::string param = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(param)});
}
[[nodiscard]] inline tl::unexpected<Error> InvalidArgument(std::string message,
                                                           std::string param = {}) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message), std::move(param));
}
[[nodiscard]] inline tl::unexpected<Error> DataLoss(std::string message) {
  return Fail(ErrorCode::kDataLoss, std::move(message));
}
[[nodiscard]] inline tl::unexpected<Error> Internal(std::string message) {
  return Fail(ErrorCode::kInternal, std::move(message));
}

}  // namespace slipstream

#define SLIP_CONCAT_INNER(a, b) a##b
#define SLIP_CONCAT(a, b) SLIP_CONCAT_INNER(a, b)

// Returns the error of `expr` (a Result or Status) from the enclosing function.
#define SLIP_RETURN_IF_ERROR(expr)                                           \
  do {                                                                       \
    auto&& slip_status = (expr);                                             \
    if (!slip_status) return tl::unexpected(std::move(slip_status).error()); \
  } while (false)

// SLIP_ASSIGN_OR_RETURN(auto x, F()); assigns the value or returns the error.
#define SLIP_ASSIGN_OR_RETURN(lhs, expr)                                           \
  auto SLIP_CONCAT(slip_result_, __LINE__) = (expr);                               \
  if (!SLIP_CONCAT(slip_result_, __LINE__))                                        \
    return tl::unexpected(std::move(SLIP_CONCAT(slip_result_, __LINE__)).error()); \
  lhs = std::move(*SLIP_CONCAT(slip_result_, __LINE__))
