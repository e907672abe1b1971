// What: the filters that take lists and dicts (join, map, selectattr, sort, ...); one part of the
//   table behind FindFilter.
// Owner: a static table. Thread: any. Fails: the filters throw jinja::Error.
#pragma once

#include <string>

#include "tokenizer/jinja/interpreter.h"

namespace slipstream::jinja {

Filter FindSequenceFilter(const std::string& name);  // null if there is none

}  // namespace slipstream::jinja
