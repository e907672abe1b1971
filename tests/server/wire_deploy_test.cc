// What docker/ says of the server, against a running one: every metric that a dashboard, a scaler
// or a router asks for exists, every probe's path answers.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

namespace fs = std::filesystem;

std::string ReadAll(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

fs::path DockerFolder() {
  const char* source = std::getenv("SLIPSTREAM_SOURCE_DIR");
  return fs::path(source == nullptr ? "." : source) / "docker";
}

std::set<std::string> Matches(const std::string& text, const std::string& pattern) {
  std::set<std::string> found;
  const std::regex regex(pattern);
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) {
    found.insert((*it)[1]);
  }
  return found;
}

TEST_F(Wire, DeployFilesAskForMetricsThatExist) {
  config_.api_keys = {"secret"};
  StartServer();
  const std::string page = Ask("GET", "/metrics").body;
  int files = 0, names = 0;
  for (const auto& entry : fs::recursive_directory_iterator(DockerFolder())) {
    const std::string extension = entry.path().extension();
    if (extension != ".yaml" && extension != ".yml" && extension != ".json") continue;
    const std::string text = ReadAll(entry.path());
    ++files;
    EXPECT_EQ(text.find('\t'), std::string::npos) << entry.path() << ": YAML takes no tabs";
    for (const std::string& name : Matches(text, "(slipstream_[a-z0-9_]+)")) {
      ++names;
      EXPECT_NE(page.find("\n" + name + "{"), std::string::npos) << entry.path() << ": " << name;
    }
  }
  EXPECT_GE(files, 8);
  EXPECT_GE(names, 20);
}

TEST_F(Wire, ProbesOfTheDeploymentAnswer) {
  StartServer();
  const std::string text = ReadAll(DockerFolder() / "k8s" / "server.yaml");
  const std::set<std::string> paths = Matches(text, "httpGet: \\{path: ([a-z/]+),");
  EXPECT_EQ(paths, (std::set<std::string>{"/health", "/ready"}));
  for (const std::string& path : paths) EXPECT_EQ(Ask("GET", path).status, 200) << path;
}

TEST(Deploy, DashboardIsSound) {
  const json dashboard =
      json::parse(ReadAll(DockerFolder() / "grafana" / "slipstream.json"), nullptr, false);
  ASSERT_TRUE(dashboard.is_object());
  std::set<int> ids;
  std::set<std::string> titles, places;
  for (const json& panel : dashboard["panels"]) {
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second) << panel["title"];
    EXPECT_TRUE(titles.insert(panel["title"].get<std::string>()).second) << panel["title"];
    const json& at = panel["gridPos"];
    EXPECT_LE(at["x"].get<int>() + at["w"].get<int>(), 24);
    EXPECT_TRUE(places.insert(fmt::format("{},{}", at["x"].get<int>(), at["y"].get<int>())).second);
    ASSERT_FALSE(panel["targets"].empty()) << panel["title"];
    for (const json& target : panel["targets"]) {
      const std::string expr = target["expr"];
      EXPECT_EQ(std::count(expr.begin(), expr.end(), '('),
                std::count(expr.begin(), expr.end(), ')'))
          << expr;
      // Histograms are asked for by quantile, counters by rate.
      EXPECT_EQ(expr.find("_bucket") != std::string::npos,
                expr.find("histogram_quantile") != std::string::npos)
          << expr;
      if (expr.find("_total{") != std::string::npos) {
        EXPECT_NE(expr.find("rate("), std::string::npos) << expr;
      }
    }
  }
  EXPECT_GE(ids.size(), 10u);
}

}  // namespace
}  // namespace slipstream::testing
