// /openapi.json against the route table. tests/integration/openapi_test.py asks whether what it
// says of each endpoint is true.
#include <set>

#include "server/all_routes.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

class OpenApi : public Wire {
 protected:
  // "GET /v1/models/* key", as the router has it and as the document says.
  std::set<std::string> Routed() {
    auto keys = ApiKeys::Open({}, "");
    EXPECT_TRUE(keys);
    const auto service = std::make_shared<Service>(config_, ModelInfo{}, tokenizer_, nullptr,
                                                   std::move(*keys), *engine_);
    Router router;
    AddAllRoutes(*service, &router);
    std::set<std::string> out;
    for (const Route& route : router.routes()) {
      out.insert(route.method + " " + route.path + (route.needs_key ? " key" : ""));
    }
    service->Shutdown();
    return out;
  }

  static std::set<std::string> Described(const json& document) {
    std::set<std::string> out;
    for (const auto& [path, operations] : document["paths"].items()) {
      std::string pattern = path;
      if (const size_t brace = pattern.find('{'); brace != std::string::npos) {
        pattern = pattern.substr(0, brace) + "*";
      }
      for (const auto& [method, operation] : operations.items()) {
        std::string name = method;
        for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        const bool open = operation.contains("security") && operation["security"].empty();
        out.insert(name + " " + pattern + (open ? "" : " key"));
      }
    }
    return out;
  }

  // Every $ref below `node` leads somewhere.
  static void ExpectRefsResolve(const json& document, const json& node) {
    if (node.is_object() && node.contains("$ref")) {
      const std::string ref = node["$ref"];
      ASSERT_TRUE(ref.starts_with("#/")) << ref;
      EXPECT_TRUE(document.contains(json::json_pointer(ref.substr(1)))) << ref;
    }
    for (const json& child : node) {
      if (child.is_structured()) ExpectRefsResolve(document, child);
    }
  }
};

TEST_F(OpenApi, EveryRouteIsInItAndNothingElse) {
  StartServer();
  const WireResponse r = Ask("GET", "/openapi.json");
  ASSERT_EQ(r.status, 200);
  EXPECT_EQ(r.headers.at("content-type"), "application/json");
  const json document = r.json();
  ASSERT_TRUE(document.is_object());
  EXPECT_EQ(document["info"]["version"], Ask("GET", "/version").json()["version"]);
  EXPECT_EQ(Described(document), Routed());
  ExpectRefsResolve(document, document);
}

TEST_F(OpenApi, AsksForNoKey) {
  config_.api_keys = {"secret"};
  StartServer();
  EXPECT_EQ(Ask("GET", "/openapi.json").status, 200);
}

}  // namespace
}  // namespace slipstream::testing
