#include "server/http/request_line.h"

#include <algorithm>
#include <boost/beast/core/string.hpp>

namespace slipstream {

std::string PathOf(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!boost::beast::iequals(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
    if (!target.starts_with('/')) return "/";
    break;
  }
  target = target.substr(0, target.find('?'));
  if (target.size() > 1 && target.ends_with('/')) target.remove_suffix(1);
  return std::string(target);
}

RequestLine RequestLineOf(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find_first_of("\r\n"));
  const size_t space = std::min(line.find(' '), line.size());
  const std::string_view rest = line.substr(std::min(space + 1, line.size()));
  return {line.substr(0, space), rest.substr(0, rest.find(' '))};
}

}  // namespace slipstream
