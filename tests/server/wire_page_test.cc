// The page at /: how it is served, and that it keeps to what the browser is told.
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

std::string Sha256(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH], base64[64];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  EVP_EncodeBlock(base64, digest, sizeof digest);
  return reinterpret_cast<const char*>(base64);
}

std::string Inside(const std::string& page, const std::string& tag) {
  const size_t begin = page.find("<" + tag + ">") + tag.size() + 2;
  return page.substr(begin, page.find("</" + tag + ">", begin) - begin);
}

TEST_F(Wire, PageIsServedUnderAStrictPolicy) {
  config_.api_keys = {"secret"};
  StartServer();
  const WireResponse r = Ask("GET", "/");
  EXPECT_EQ(r.status, 200) << "the page itself needs no key";
  EXPECT_EQ(r.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(r.headers.at("x-content-type-options"), "nosniff");
  EXPECT_EQ(r.headers.at("referrer-policy"), "no-referrer");
  const std::string policy = r.headers.at("content-security-policy");
  EXPECT_TRUE(policy.starts_with("default-src 'none';")) << policy;
  EXPECT_EQ(policy.find("unsafe"), std::string::npos) << policy;
  EXPECT_EQ(policy.find('*'), std::string::npos) << policy;
  for (const std::string& part :
       {"script-src 'sha256-" + Sha256(Inside(r.body, "script")) + "';",
        "style-src 'sha256-" + Sha256(Inside(r.body, "style")) + "';",
        std::string("connect-src 'self';"), std::string("frame-ancestors 'none'")}) {
    EXPECT_NE(policy.find(part), std::string::npos) << part << "\n" << policy;
  }
  EXPECT_EQ(Ask("HEAD", "/").status, 200);
  EXPECT_EQ(Ask("POST", "/", "{}").status, 405);
}

TEST_F(Wire, PageLoadsNothingAndObeysItsPolicy) {
  StartServer();
  const std::string page = Ask("GET", "/").body;
  ASSERT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_TRUE(page.ends_with("</html>\n")) << "cut off";
  // The only address is the name space of SVG; no handler or style sits in an attribute.
  std::string rest = page;
  for (size_t at; (at = rest.find("http://www.w3.org/2000/svg")) != std::string::npos;) {
    rest.erase(at, 26);
  }
  for (const char* no : {"http://", "https://", "src=", "@import", "url(", " onclick=", " style=\"",
                         "innerHTML", "eval("}) {
    EXPECT_EQ(rest.find(no), std::string::npos) << no;
  }
  // What it draws is there to be drawn.
  const std::string metrics = Ask("GET", "/metrics").body;
  for (const char* name : {"num_requests_running", "num_requests_waiting", "kv_cache_usage_ratio",
                           "generation_tokens_total", "prompt_tokens_total",
                           "time_to_first_token_seconds", "inter_token_latency_seconds"}) {
    EXPECT_NE(page.find(name), std::string::npos) << name;
    EXPECT_NE(metrics.find(std::string("# TYPE slipstream_") + name), std::string::npos) << name;
  }
}

TEST_F(Wire, PageCanBeLeftOut) {
  config_.page = false;
  StartServer();
  EXPECT_EQ(Ask("GET", "/").status, 404);
}

}  // namespace
}  // namespace slipstream::testing
