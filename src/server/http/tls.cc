#include "server/http/tls.h"

#include <openssl/ssl.h>

#include <boost/asio/buffer.hpp>
#include <exception>
#include <string_view>
#include <utility>

#include "base/whole_file.h"

namespace slipstream {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

constexpr std::string_view kHttp11 = "http/1.1";

// Clients that offer HTTP/2 first are told what is spoken here (RFC 7301).
int ChooseProtocol(SSL*, const unsigned char** out, unsigned char* out_length,
                   const unsigned char* offered, unsigned int length, void*) {
  for (unsigned int at = 0; at < length; at += 1U + offered[at]) {
    const unsigned int size = offered[at];
    if (at + 1 + size > length) break;
    if (std::string_view(reinterpret_cast<const char*>(offered + at + 1), size) != kHttp11)
      continue;
    *out = offered + at + 1;
    *out_length = static_cast<unsigned char>(size);
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

}  // namespace

Result<std::shared_ptr<TlsCertificate>> TlsCertificate::Open(std::string cert_path,
                                                             std::string key_path) {
  if (cert_path.empty() || key_path.empty()) {
    return InvalidArgument("tls_cert and tls_key are needed together",
                           cert_path.empty() ? "tls_cert" : "tls_key");
  }
  std::shared_ptr<TlsCertificate> certificate(
      new TlsCertificate(std::move(cert_path), std::move(key_path)));
  SLIP_RETURN_IF_ERROR(certificate->Reload());
  return certificate;
}

Status TlsCertificate::Reload() {
  try {
    auto context = std::make_shared<Context>(ssl::context::tls_server);
    SSL_CTX* native = context->native_handle();
    SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
    SSL_CTX_set_options(
        native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(native, ChooseProtocol, nullptr);
    constexpr size_t kMaxBytes = size_t{1} << 20;
    const auto chain = ReadWholeFile(cert_path_, kMaxBytes);
    if (!chain) return Fail(chain.error().code, chain.error().message, "tls_cert");
    const auto key = ReadWholeFile(key_path_, kMaxBytes);
    if (!key) return Fail(key.error().code, key.error().message, "tls_key");
    error_code ec;
    context->use_certificate_chain(boost::asio::buffer(*chain), ec);
    if (ec)
      return InvalidArgument(cert_path_ + ": not a PEM certificate: " + ec.message(), "tls_cert");
    // Also fails when the key is not the certificate's.
    context->use_private_key(boost::asio::buffer(*key), ssl::context::pem, ec);
    if (ec)
      return InvalidArgument(key_path_ + ": not the PEM key of the certificate: " + ec.message(),
                             "tls_key");
    std::lock_guard lock(mutex_);
    current_ = std::move(context);
    pem_ = *key + '\n' + *chain;
    return {};
  } catch (const std::exception& e) {
    return Internal(std::string("cannot set up TLS: ") + e.what());
  }
}

std::string TlsCertificate::pem() const {
  std::lock_guard lock(mutex_);
  return pem_;
}

std::shared_ptr<TlsCertificate::Context> TlsCertificate::current() const {
  std::lock_guard lock(mutex_);
  return current_;
}

}  // namespace slipstream
