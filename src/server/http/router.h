// Which handler answers a method and path: a plain table, filled before the listener starts, const
// afterwards. A path that ends in '/' + '*' matches everything below it. Nothing fails.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/http/exchange.h"

namespace slipstream {

struct Route {
  std::string method;
  std::string path;
  bool needs_key = false;  // asks for an API key when the server has any
  HttpHandler handler;
};

class Router {
 public:
  void Add(Route route) { routes_.push_back(std::move(route)); }

  const std::vector<Route>& routes() const { return routes_; }

  struct Match {
    const Route* route = nullptr;  // null: see below
    std::string allow;             // not empty: the path exists with these methods only
  };
  // HEAD finds the GET route.
  Match Find(std::string_view method, std::string_view path) const;

 private:
  std::vector<Route> routes_;
};

}  // namespace slipstream
