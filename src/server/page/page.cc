#include "server/page/page.h"

#include <fmt/core.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <string>
#include <string_view>
#include <utility>

#include "server/page/page_text.h"

namespace slipstream {
namespace {

// 'sha256-...' of what stands in the page's only <tag>: Content Security Policy level 3.
std::string HashOf(std::string_view page, std::string_view tag) {
  const std::string open = fmt::format("<{}>", tag), close = fmt::format("</{}>", tag);
  const size_t begin = page.find(open) + open.size();
  const std::string_view text = page.substr(begin, page.find(close, begin) - begin);
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  unsigned char base64[4 * ((SHA256_DIGEST_LENGTH + 2) / 3) + 1];
  EVP_EncodeBlock(base64, digest, SHA256_DIGEST_LENGTH);
  return fmt::format("'sha256-{}'", reinterpret_cast<const char*>(base64));
}

}  // namespace

void AddPageRoute(Router* router) {
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.body = kPageText;
  response.headers = {
      {"content-security-policy",
       fmt::format("default-src 'none'; script-src {}; style-src {}; connect-src 'self'; "
                   "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                   HashOf(kPageText, "script"), HashOf(kPageText, "style"))},
      {"x-content-type-options", "nosniff"},
      {"referrer-policy", "no-referrer"},
      {"cache-control", "no-cache"}};
  router->Add({"GET", "/", false,
               [response = std::move(response)](const std::shared_ptr<Exchange>& exchange,
                                                HttpRequest&&) { exchange->Respond(response); }});
}

}  // namespace slipstream
