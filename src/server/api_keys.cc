#include "server/api_keys.h"

#include <fmt/core.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/whole_file.h"

namespace slipstream {
namespace {

using nlohmann::json;

constexpr size_t kMaxKeyBytes = 4096;
constexpr size_t kMaxNameBytes = 64;

Status TakeLimit(const json& value, const std::string& where, double* limit) {
  if (!value.is_number() || !(value.get<double>() >= 0) || value.get<double>() > 1e15) {
    return InvalidArgument(where + " must be a number, 0 (no limit) or more");
  }
  *limit = value.get<double>();
  return {};
}

// 64 hexadecimal digits.
bool ParseHex(std::string_view text, std::array<unsigned char, 32>* out) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const int lower = std::tolower(static_cast<unsigned char>(c));
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  };
  if (text.size() != 64) return false;
  for (size_t i = 0; i < 32; ++i) {
    const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    (*out)[i] = static_cast<unsigned char>(high * 16 + low);
  }
  return true;
}

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

}  // namespace

struct ApiKeys::FileKey {
  std::string name;
  Digest digest{};
  KeyLimits limits;
};

ApiKeys::ApiKeys(const std::vector<std::string>& plain, std::string path) : path_(std::move(path)) {
  for (size_t i = 0; i < plain.size(); ++i) {
    plain_.push_back(
        {DigestOf(plain[i]), std::make_shared<KeyAccount>(fmt::format("key-{}", i + 1))});
  }
  entries_ = std::make_shared<const std::vector<Entry>>(plain_);
}

Result<std::shared_ptr<ApiKeys>> ApiKeys::Open(const std::vector<std::string>& plain,
                                               const std::string& path) {
  std::shared_ptr<ApiKeys> keys(new ApiKeys(plain, path));
  if (!path.empty()) SLIP_RETURN_IF_ERROR(keys->Reload());
  return keys;
}

Status ApiKeys::Reload() {
  if (path_.empty()) return {};
  constexpr size_t kMaxBytes = size_t{64} << 20;
  SLIP_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path_, kMaxBytes));
  auto read = ReadKeys(text);
  if (!read) return tl::unexpected(std::move(read).error().With(path_));
  std::lock_guard lock(mutex_);
  auto entries = std::make_shared<std::vector<Entry>>(plain_);
  for (FileKey& key : *read) {
    // Two keys of one name share its limits, so that a key can be replaced without a gap.
    std::shared_ptr<KeyAccount> account;
    for (const auto* list :
         {entries_.get(), static_cast<const std::vector<Entry>*>(entries.get())}) {
      for (const Entry& known : *list) {
        if (known.account->name() == key.name) account = known.account;
      }
    }
    if (!account) account = std::make_shared<KeyAccount>(key.name);
    account->SetLimits(key.limits);
    entries->push_back({key.digest, std::move(account)});
  }
  entries_ = std::move(entries);
  return {};
}

bool ApiKeys::required() const {
  std::lock_guard lock(mutex_);
  return !entries_->empty();
}

std::shared_ptr<KeyAccount> ApiKeys::Find(std::string_view authorization) const {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return nullptr;
  for (size_t i = 0; i < kScheme.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(authorization[i])) != kScheme[i]) return nullptr;
  }
  authorization.remove_prefix(kScheme.size());
  if (authorization.size() > kMaxKeyBytes) return nullptr;
  const Digest digest = DigestOf(authorization);
  std::shared_ptr<const std::vector<Entry>> entries;
  {
    std::lock_guard lock(mutex_);
    entries = entries_;
  }
  // Every entry is compared whole, whichever fits.
  std::shared_ptr<KeyAccount> found;
  for (const Entry& entry : *entries) {
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) {
      found = entry.account;
    }
  }
  return found;
}

std::vector<std::shared_ptr<KeyAccount>> ApiKeys::accounts() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<KeyAccount>> all;
  for (const Entry& entry : *entries_) {
    if (std::find(all.begin(), all.end(), entry.account) == all.end()) {
      all.push_back(entry.account);
    }
  }
  return all;
}

ApiKeys::Digest ApiKeys::DigestOf(std::string_view key) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

Status ApiKeys::ReadField(const std::string& field, const nlohmann::json& value,
                          const std::string& at, FileKey* key) {
  if (field == "name") {
    if (!value.is_string() || !IsName(value)) {
      return InvalidArgument(at + " must be 1 to 64 printable characters without spaces");
    }
    key->name = value;
    return {};
  }
  if (field == "key") {
    if (!value.is_string() || value.get_ref<const std::string&>().empty() ||
        value.get_ref<const std::string&>().size() > kMaxKeyBytes) {
      return InvalidArgument(at + " must be a string, not empty and not longer than 4096 bytes");
    }
    key->digest = DigestOf(value.get_ref<const std::string&>());
    return {};
  }
  if (field == "sha256") {
    if (!value.is_string() || !ParseHex(value.get_ref<const std::string&>(), &key->digest)) {
      return InvalidArgument(at + " must be 64 hexadecimal digits");
    }
    return {};
  }
  double limit = 0;
  SLIP_RETURN_IF_ERROR(TakeLimit(value, at, &limit));
  if (field == "requests_per_minute") {
    key->limits.requests_per_minute = limit;
  } else if (field == "tokens_per_minute") {
    key->limits.tokens_per_minute = limit;
  } else if (field == "max_concurrent") {
    key->limits.max_concurrent = static_cast<int64_t>(limit);
  } else {
    return InvalidArgument(at + " is not a field of a key");
  }
  return {};
}

Result<ApiKeys::FileKey> ApiKeys::ReadKey(const json& item, const std::string& where) {
  if (!item.is_object()) return InvalidArgument(where + " is not an object");
  FileKey key;
  for (const auto& [field, value] : item.items()) {
    SLIP_RETURN_IF_ERROR(ReadField(field, value, where + "." + field, &key));
  }
  if (key.name.empty()) return InvalidArgument(where + " has no name");
  if (item.contains("key") == item.contains("sha256")) {
    return InvalidArgument(where + " needs one of key and sha256");
  }
  return key;
}

Result<std::vector<ApiKeys::FileKey>> ApiKeys::ReadKeys(const std::string& text) {
  try {
    const json root = json::parse(text, nullptr, false);
    if (!root.is_object() || !root.contains("keys") || !root["keys"].is_array() ||
        root["keys"].empty()) {
      return InvalidArgument("is not a JSON object with a list \"keys\" that is not empty");
    }
    std::vector<FileKey> keys;
    std::set<Digest> digests;
    for (const json& item : root["keys"]) {
      const std::string where = fmt::format("keys[{}]", keys.size());
      SLIP_ASSIGN_OR_RETURN(FileKey key, ReadKey(item, where));
      if (!digests.insert(key.digest).second) {
        return InvalidArgument(where + " has the same key as one before it");
      }
      keys.push_back(std::move(key));
    }
    return keys;
  } catch (const std::exception& e) {
    return Internal(std::string("cannot be read: ") + e.what());
  }
}

}  // namespace slipstream
