#include "server/openai/response_store.h"

#include <utility>

namespace slipstream {

void ResponseStore::Put(const std::string& id, StoredResponse response) {
  const size_t bytes = 2 * id.size() + response.owner.size() + response.body.size() +
                       response.messages.size() + sizeof(Entry);
  std::lock_guard lock(mutex_);
  if (bytes > max_bytes_ || by_id_.contains(id)) return;
  list_.push_front({id, std::move(response), bytes});
  by_id_[id] = list_.begin();
  bytes_ += bytes;
  while (bytes_ > max_bytes_ || list_.size() > max_responses_) Drop(std::prev(list_.end()));
}

std::optional<StoredResponse> ResponseStore::Get(const std::string& id, const std::string& owner) {
  std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->response.owner != owner) return std::nullopt;
  list_.splice(list_.begin(), list_, found->second);
  return found->second->response;
}

bool ResponseStore::Erase(const std::string& id, const std::string& owner) {
  std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->response.owner != owner) return false;
  Drop(found->second);
  return true;
}

void ResponseStore::Drop(List::iterator entry) {
  bytes_ -= entry->bytes;
  by_id_.erase(entry->id);
  list_.erase(entry);
}

}  // namespace slipstream
