// The first line of an HTTP request: RFC 9112, 3. Pure functions, any thread; nothing fails.
#pragma once

#include <string>
#include <string_view>

namespace slipstream {

// The path of a request target, without the query and a slash at its end: RFC 9112, 3.2. A proxy is
// sent the absolute form, and every server must take it.
std::string PathOf(std::string_view target);

struct RequestLine {
  std::string_view method, target;
};
// As much as there is of it in the bytes that begin a request; views of them.
RequestLine RequestLineOf(std::string_view bytes);

}  // namespace slipstream
