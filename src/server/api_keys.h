// API keys and what each may use: requests and tokens a minute, requests at once. Keys come from
// the options and from a JSON file, which may be read again while the server runs. Only hashes are
// kept. Shared by all transports; any thread. Open and Reload fail with the file and what is wrong
// in it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/metrics.h"
#include "base/result.h"

namespace slipstream {

// 0: no limit.
struct KeyLimits {
  double requests_per_minute = 0;
  double tokens_per_minute = 0;  // prompt and answer
  int64_t max_concurrent = 0;    // requests not answered yet
};

// What one key has used. It outlives a reload that keeps its name.
class KeyAccount {
 public:
  explicit KeyAccount(std::string name) : name_(std::move(name)) {}

  struct Refusal {
    std::string message;
    int64_t retry_after_seconds = 1;
  };
  // Takes a place and a request, or tells which limit is in the way. `now_us` is of one clock that
  // does not go back.
  std::optional<Refusal> Enter(int64_t now_us);
  void Leave();
  // Tokens are known when they were used: the balance may fall below zero, and nothing more is let
  // in until time has paid for it.
  void Charge(int64_t prompt_tokens, int64_t generation_tokens);
  void SetLimits(const KeyLimits& limits);

  const std::string& name() const { return name_; }

  Counter requests_total, prompt_tokens_total, generation_tokens_total;
  Counter rejected_requests_total, rejected_tokens_total, rejected_concurrency_total;

 private:
  void Refill(int64_t now_us);

  const std::string name_;
  std::mutex mutex_;
  KeyLimits limits_;
  double requests_left_ = 0, tokens_left_ = 0;  // up to a minute's worth
  int64_t refilled_us_ = 0;
  int64_t open_ = 0;
};

// A place taken with Enter, given back when nobody holds it.
class KeyPermit {
 public:
  explicit KeyPermit(std::shared_ptr<KeyAccount> account) : account_(std::move(account)) {}
  ~KeyPermit() { account_->Leave(); }
  KeyPermit(const KeyPermit&) = delete;
  KeyPermit& operator=(const KeyPermit&) = delete;

 private:
  const std::shared_ptr<KeyAccount> account_;
};

class ApiKeys {
 public:
  // `plain` are keys without limits, named key-1, key-2, ... `path` may be empty. A file without
  // keys is an error: it would open the door.
  static Result<std::shared_ptr<ApiKeys>> Open(const std::vector<std::string>& plain,
                                               const std::string& path);

  // Reads the file again; on an error everything stays as it was.
  Status Reload();

  // Whether requests need a key at all.
  bool required() const;
  // Null: `authorization` is not "Bearer KEY" with a key of ours. Takes as long for a wrong key as
  // for a right one.
  std::shared_ptr<KeyAccount> Find(std::string_view authorization) const;
  std::vector<std::shared_ptr<KeyAccount>> accounts() const;

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    Digest digest;
    std::shared_ptr<KeyAccount> account;
  };
  struct FileKey;  // an entry of the file

  ApiKeys(const std::vector<std::string>& plain, std::string path);
  static Digest DigestOf(std::string_view key);
  static Status ReadField(const std::string& field, const nlohmann::json& value,
                          const std::string& at, FileKey* key);
  static Result<FileKey> ReadKey(const nlohmann::json& item, const std::string& where);
  static Result<std::vector<FileKey>> ReadKeys(const std::string& text);

  const std::string path_;
  std::vector<Entry> plain_;
  mutable std::mutex mutex_;
  std::shared_ptr<const std::vector<Entry>> entries_;
};

}  // namespace slipstream
