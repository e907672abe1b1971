#include "grammar/grammar_compiler.h"

#include <fmt/core.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <list>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/xgrammar_engine.h"

namespace slipstream {
namespace {

using SteadyClock = std::chrono::steady_clock;

std::chrono::microseconds SecondsOf(double seconds) {
  return std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
}

std::string KeyOf(const GrammarSource& source) {
  std::string key{static_cast<char>('a' + static_cast<int>(source.kind)),
                  source.strict ? '1' : '0'};
  return key + source.text;
}

// An answer found for one request is another's, under the name of the other's field.
GrammarCompiler::Compiled ForField(const GrammarCompiler::Compiled& result, const std::string& from,
                                   const std::string& field) {
  if (result || from == field) return result;
  Error error = result.error();
  if (error.message.starts_with(from)) error.message = field + error.message.substr(from.size());
  if (error.param == from) error.param = field;
  return tl::unexpected(std::move(error));
}

}  // namespace

// Lives as long as the compiler or any of its threads: a thread over its deadline may outlive it.
class GrammarCompiler::Shared : public std::enable_shared_from_this<GrammarCompiler::Shared> {
 public:
  Shared(std::shared_ptr<const Tokenizer> tokenizer, int64_t vocab_size,
         GrammarCompilerOptions options)
      : tokenizer_(std::move(tokenizer)), vocab_size_(vocab_size), options_(options) {}

  void Compile(const GrammarSource& source, Done done);
  void Stop();
  void WaitForCompiles();

 private:
  struct Waiter {
    std::string field;
    Done done;
  };
  struct Entry {
    GrammarSource source;
    enum { kQueued, kCompiling, kLate, kReady } state = kQueued;
    SteadyClock::time_point deadline;  // when kLate: for being stopped
    std::atomic<bool> stop{false};
    std::vector<Waiter> waiters;
    Compiled result = nullptr;  // when kReady or kLate
    size_t bytes = 0;
    std::list<std::string>::iterator in_lru;  // when kReady
  };

  void StartThread();
  void StartWatch();
  void Work();
  void Watch();
  // Returns those to tell.
  std::vector<Waiter> Finish(Entry* entry, const std::string& key,
                             Result<CompiledConstraint> compiled);
  // Gives `entry` its deadline's error. Returns those to tell.
  std::vector<Waiter> GiveUp(Entry* entry);
  void Evict();
  // Calls without the lock, which `lock` holds before and after.
  void Tell(std::vector<Waiter> waiters, const Entry& entry, std::unique_lock<std::mutex>& lock);

  const std::shared_ptr<const Tokenizer> tokenizer_;
  const int64_t vocab_size_;
  const GrammarCompilerOptions options_;

  std::mutex mutex_;
  std::condition_variable work_, watch_, idle_;
  std::unordered_map<std::string, std::shared_ptr<Entry>> entries_;  // by KeyOf
  std::deque<std::string> queue_;
  std::list<std::string> lru_;  // keys of kReady, oldest first
  size_t cached_bytes_ = 0;
  std::shared_ptr<const XGrammarEngine> engine_;  // made by the first job
  int num_threads_ = 0;                           // within their deadline
  int num_late_ = 0;
  int num_compiling_ = 0;  // within their deadline
  int num_telling_ = 0;
  bool watching_ = false;
  bool stopped_ = false;
};

void GrammarCompiler::Shared::Compile(const GrammarSource& source, Done done) {
  if (Status status = CheckGrammarSource(source, options_.max_source_bytes); !status) {
    return done(tl::unexpected(status.error()));
  }
  std::unique_lock lock(mutex_);
  std::string key = KeyOf(source);
  const auto found = entries_.find(key);
  if (found != entries_.end()) {
    Entry& entry = *found->second;
    if (entry.state == Entry::kReady || entry.state == Entry::kLate) {
      if (entry.state == Entry::kReady) lru_.splice(lru_.end(), lru_, entry.in_lru);
      const Compiled result = ForField(entry.result, entry.source.field, source.field);
      lock.unlock();
      return done(result);
    }
    entry.waiters.push_back({source.field, std::move(done)});
    return;
  }
  // Threads over their deadline are not replaced for ever.
  const bool stuck = num_late_ >= options_.max_late_threads && num_threads_ == 0;
  if (stopped_ || stuck || static_cast<int>(queue_.size()) >= options_.max_waiting) {
    lock.unlock();
    return done(Fail(ErrorCode::kResourceExhausted,
                     "too many grammars are being compiled; try again later"));
  }
  auto entry = std::make_shared<Entry>();
  entry->source = source;
  entry->waiters.push_back({source.field, std::move(done)});
  entry->deadline = SteadyClock::now() + SecondsOf(options_.deadline_seconds);
  entries_.emplace(key, std::move(entry));
  queue_.push_back(std::move(key));
  StartWatch();
  if (num_threads_ < options_.num_threads && num_threads_ == num_compiling_) StartThread();
  work_.notify_one();
  watch_.notify_one();
}

void GrammarCompiler::Shared::StartThread() {
  ++num_threads_;
  std::thread([self = shared_from_this()] { self->Work(); }).detach();
}

void GrammarCompiler::Shared::StartWatch() {
  if (std::exchange(watching_, true)) return;
  std::thread([self = shared_from_this()] { self->Watch(); }).detach();
}

void GrammarCompiler::Shared::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return stopped_ || !queue_.empty(); });
    if (stopped_) break;
    const std::string key = std::move(queue_.front());
    queue_.pop_front();
    const std::shared_ptr<Entry> entry = entries_.at(key);
    if (entry->state != Entry::kQueued) continue;
    entry->state = Entry::kCompiling;
    ++num_compiling_;
    std::shared_ptr<const XGrammarEngine> engine = engine_;
    lock.unlock();
    Result<CompiledConstraint> compiled = [&]() -> Result<CompiledConstraint> {
      try {
        if (engine == nullptr) {
          SLIP_ASSIGN_OR_RETURN(engine, MakeXGrammarEngine(*tokenizer_, vocab_size_));
        }
        return engine->Compile(entry->source, entry->stop);
      } catch (const std::exception& e) {
        return Internal(std::string("a grammar could not be compiled: ") + e.what());
      }
    }();
    lock.lock();
    if (engine_ == nullptr) engine_ = engine;
    const bool was_late = entry->state == Entry::kLate;
    if (was_late && !compiled) compiled = tl::unexpected(entry->result.error());
    std::vector<Waiter> waiters = Finish(entry.get(), key, std::move(compiled));
    if (was_late) {  // this thread has been replaced, if there were not too many
      --num_late_;
      if (num_threads_ == 0 && !queue_.empty() && !stopped_) StartThread();
      return;
    }
    --num_compiling_;
    idle_.notify_all();
    Tell(std::move(waiters), *entry, lock);
  }
  --num_threads_;
}

void GrammarCompiler::Shared::Tell(std::vector<Waiter> waiters, const Entry& entry,
                                   std::unique_lock<std::mutex>& lock) {
  if (stopped_ || waiters.empty()) return;
  const Compiled result = entry.result;
  const std::string field = entry.source.field;
  ++num_telling_;
  lock.unlock();
  for (Waiter& waiter : waiters) waiter.done(ForField(result, field, waiter.field));
  waiters.clear();  // they own requests
  lock.lock();
  --num_telling_;
  idle_.notify_all();
}

// Keeps what was found, for those who wait and those to come.
std::vector<GrammarCompiler::Shared::Waiter> GrammarCompiler::Shared::Finish(
    Entry* entry, const std::string& key, Result<CompiledConstraint> compiled) {
  if (stopped_) return {};
  entry->bytes = key.size();
  if (compiled) {
    entry->bytes += compiled->bytes;
    entry->result = std::move(compiled->constraint);
  } else {
    entry->result = tl::unexpected(std::move(compiled).error());
  }
  entry->state = Entry::kReady;
  entry->in_lru = lru_.insert(lru_.end(), key);
  cached_bytes_ += entry->bytes;
  Evict();
  return std::exchange(entry->waiters, {});
}

void GrammarCompiler::Shared::Evict() {
  // The newest stays, whatever its size.
  while (cached_bytes_ > options_.max_cached_bytes && lru_.size() > 1) {
    const auto oldest = entries_.find(lru_.front());
    cached_bytes_ -= oldest->second->bytes;
    entries_.erase(oldest);
    lru_.pop_front();
  }
}

std::vector<GrammarCompiler::Shared::Waiter> GrammarCompiler::Shared::GiveUp(Entry* entry) {
  const std::string& field = entry->source.field;
  if (entry->state == Entry::kQueued) {
    entry->result = Fail(ErrorCode::kResourceExhausted,
                         "too many grammars are being compiled; try again later");
  } else {
    entry->result =
        InvalidArgument(fmt::format("{} is too complex: it was not compiled within {:g} s", field,
                                    options_.deadline_seconds),
                        field);
    --num_compiling_;
    --num_threads_;
    ++num_late_;
    entry->state = Entry::kLate;
    entry->deadline += SecondsOf(options_.late_seconds);
    if (num_late_ < options_.max_late_threads) StartThread();
  }
  return std::exchange(entry->waiters, {});
}

void GrammarCompiler::Shared::Watch() {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    const auto now = SteadyClock::now();
    auto next = now + std::chrono::hours(1);
    std::shared_ptr<Entry> late;
    for (auto it = entries_.begin(); it != entries_.end() && late == nullptr; ++it) {
      const std::shared_ptr<Entry>& entry = it->second;
      if (entry->state == Entry::kReady || entry->stop) continue;
      if (entry->deadline <= now) {
        late = entry;
      } else {
        next = std::min(next, entry->deadline);
      }
    }
    if (late == nullptr) {
      watch_.wait_until(lock, next);
      continue;
    }
    if (late->state == Entry::kLate) {
      late->stop = true;
      continue;
    }
    std::vector<Waiter> waiters = GiveUp(late.get());
    if (late->state == Entry::kQueued) {  // not its fault: it may come again
      const std::string key = KeyOf(late->source);
      std::erase(queue_, key);
      entries_.erase(key);
    }
    Tell(std::move(waiters), *late, lock);
  }
}

void GrammarCompiler::Shared::Stop() {
  std::vector<Waiter> dropped;  // they own requests: freed without the lock
  std::unique_lock lock(mutex_);
  stopped_ = true;
  queue_.clear();
  for (auto& [key, entry] : entries_) {
    std::move(entry->waiters.begin(), entry->waiters.end(), std::back_inserter(dropped));
    entry->waiters.clear();
    entry->stop = true;
  }
  work_.notify_all();
  watch_.notify_all();
  idle_.wait(lock, [&] { return num_telling_ == 0; });
  lock.unlock();
}

void GrammarCompiler::Shared::WaitForCompiles() {
  std::unique_lock lock(mutex_);
  idle_.wait_for(lock, std::chrono::duration<double>(options_.deadline_seconds),
                 [&] { return num_compiling_ == 0; });
}

GrammarCompiler::GrammarCompiler(std::shared_ptr<const Tokenizer> tokenizer, int64_t vocab_size,
                                 GrammarCompilerOptions options)
    : shared_(std::make_shared<Shared>(std::move(tokenizer), vocab_size, options)) {}

GrammarCompiler::~GrammarCompiler() {
  shared_->Stop();
  shared_->WaitForCompiles();
}

void GrammarCompiler::Stop() { shared_->Stop(); }

void GrammarCompiler::Compile(const GrammarSource& source, Done done) {
  shared_->Compile(source, std::move(done));
}

}  // namespace slipstream
