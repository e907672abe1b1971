// What /v1/responses remembers, for previous_response_id and GET: the most recently used responses
// within a number and a size. One per server; any thread; forgetting is not an error.
#pragma once

#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace slipstream {

struct StoredResponse {
  std::string owner;     // the name of the API key that made it; others do not see it
  std::string body;      // as GET gives it
  std::string messages;  // the conversation with its answer, a JSON array of chat messages
};

class ResponseStore {
 public:
  static constexpr size_t kMaxResponses = 1024;
  static constexpr size_t kMaxBytes = size_t{64} << 20;

  explicit ResponseStore(size_t max_responses = kMaxResponses, size_t max_bytes = kMaxBytes)
      : max_responses_(max_responses), max_bytes_(max_bytes) {}

  void Put(const std::string& id, StoredResponse response);
  std::optional<StoredResponse> Get(const std::string& id, const std::string& owner);
  bool Erase(const std::string& id, const std::string& owner);

 private:
  struct Entry {
    std::string id;
    StoredResponse response;
    size_t bytes = 0;
  };
  using List = std::list<Entry>;

  void Drop(List::iterator entry);

  const size_t max_responses_, max_bytes_;
  std::mutex mutex_;
  List list_;  // the last used first
  std::unordered_map<std::string, List::iterator> by_id_;
  size_t bytes_ = 0;
};

}  // namespace slipstream
