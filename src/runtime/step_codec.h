// ForwardInput, StepOutput and ExecutorInfo as bytes for a rank in another process. Fixed order,
// little-endian, vectors as a 32-bit count and their elements. Decoding checks every count against
// the bytes that are there: a damaged message is an error, never a crash.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "runtime/executor.h"

namespace slipstream {

std::vector<uint8_t> Encode(const ForwardInput& input);
std::vector<uint8_t> Encode(const Result<StepOutput>& output);
std::vector<uint8_t> Encode(const ExecutorInfo& info, int max_in_flight);

Result<ForwardInput> DecodeForwardInput(std::span<const uint8_t> bytes);
// The error of a failed step comes back as the error.
Result<StepOutput> DecodeStepOutput(std::span<const uint8_t> bytes);
// What a rank relies on: array sizes agree, ids, rows, slots and blocks are in range.
Status CheckForwardInput(const ForwardInput& input, const ExecutorInfo& info);
Status DecodeExecutorInfo(std::span<const uint8_t> bytes, ExecutorInfo* info, int* max_in_flight);

}  // namespace slipstream
