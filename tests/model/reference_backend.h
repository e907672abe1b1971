// A Backend of plain loops over float32 on one thread: the second truth beside backend/cpu. Slow
// and obvious; weights in F32, F16 or BF16. Used by tests alone.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace slipstream::testing {

std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace slipstream::testing
