// What a JSON schema asks for and grammars made from it would pass over in silence. Pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace slipstream {

// Why answers could not be held to `schema`, for people; empty when nothing was found. The rest the
// grammar library says by itself when it compiles. Recursive: as deep as the schema nests.
std::string NotEnforced(const nlohmann::json& schema);

}  // namespace slipstream
