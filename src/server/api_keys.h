// Checks the key a client brings. Pure function, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace slipstream {

// True when `keys` is empty or `authorization` is "Bearer KEY" with one of them. Takes as long for
// a wrong key as for the right one.
bool ApiKeyIsKnown(const std::vector<std::string>& keys, std::string_view authorization);

}  // namespace slipstream
