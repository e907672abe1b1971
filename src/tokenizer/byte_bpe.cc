#include "tokenizer/byte_bpe.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <queue>

#include "tokenizer/byte_level.h"
#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

// Pre-tokens repeat: a direct-mapped cache per thread spares most merging. Entries know which
// tokenizer they belong to.
struct CacheEntry {
  static constexpr size_t kMaxBytes = 26, kMaxIds = 6;
  uint32_t owner = 0;
  uint8_t bytes = 0, ids_count = 0;
  std::array<char, kMaxBytes> text{};
  std::array<int32_t, kMaxIds> ids{};
};
constexpr size_t kCacheEntries = 1 << 14;  // 900 KiB per encoding thread

std::vector<CacheEntry>& ThreadCache() {
  thread_local std::vector<CacheEntry> cache(kCacheEntries);
  return cache;
}

uint64_t Mix(uint64_t key) {
  key ^= key >> 32;
  key *= 0x9E3779B97F4A7C15ull;
  return key ^ key >> 29;
}

uint64_t KeyOf(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// Up to this many symbols a scan for the lowest rank is faster than a heap.
constexpr size_t kShort = 32;

constexpr std::string_view kBlank = "\xE2\x96\x81";  // U+2581

}  // namespace

ByteBpe::ByteBpe(const TokenIds& ids, std::vector<bool> usable,
                 const std::vector<MergeRule>& merges, BpeOptions options)
    : options_(options),
      usable_(std::move(usable)),
      vocab_size_(static_cast<int32_t>(usable_.size())) {
  static std::atomic<uint32_t> next_serial{1};
  serial_ = next_serial.fetch_add(1, std::memory_order_relaxed);

  size_t capacity = 16;
  while (capacity < merges.size() * 2) capacity *= 2;
  slots_.resize(capacity);
  std::string both;
  for (const MergeRule& rule : merges) {
    both.assign(rule.left);
    both += rule.right;
    const int32_t left = Intern(ids, rule.left);
    const int32_t right = Intern(ids, rule.right);
    Insert(left, right, {rule.rank, Intern(ids, both)});
    NoteBlanks(both);
  }
  blank_is_token_ = Lookup(ids, kBlank) >= 0;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string& spelling = byte_level::Spellings()[byte];
    byte_symbols_[byte] = Lookup(ids, spelling);
    if (byte_symbols_[byte] < 0) {
      const auto it = extra_ids_.find(spelling);
      if (it != extra_ids_.end()) byte_symbols_[byte] = it->second;
    }
    std::array<char, 8> fallback{};
    std::snprintf(fallback.data(), fallback.size(), "<0x%02X>", static_cast<unsigned>(byte));
    fallback_ids_[byte] = Lookup(ids, fallback.data());
  }
}

int32_t ByteBpe::Lookup(const TokenIds& ids, std::string_view spelling) const {
  const auto it = ids.find(spelling);
  return it != ids.end() && usable_[static_cast<size_t>(it->second)] ? it->second : -1;
}

bool ByteBpe::SpellsEverything(const TokenIds& ids) const {
  // Steps between merges fall apart into characters, of which each must be a token.
  for (const std::string& spelling : extra_) {
    for (size_t pos = 0; pos < spelling.size();) {
      const size_t length = static_cast<size_t>(unicode::DecodeAt(spelling, pos).length);
      if (Lookup(ids, std::string_view(spelling).substr(pos, length)) < 0) return false;
      pos += length;
    }
  }
  const bool all_bytes =
      std::all_of(fallback_ids_.begin(), fallback_ids_.end(), [](int32_t id) { return id >= 0; });
  return (options_.byte_fallback && all_bytes) || (options_.unk_id && !options_.fuse_unk);
}

TextBound ByteBpe::Bound(const TokenIds& ids, bool raw_bytes) const {
  TextBound bound;
  if (!raw_bytes && !SpellsEverything(ids)) return bound;
  bound.max_bytes = 4;  // an unknown character
  for (const auto& [spelling, id] : ids) {
    if (!usable_[static_cast<size_t>(id)]) continue;
    const auto characters = std::count_if(spelling.begin(), spelling.end(), [](char c) {
      return (static_cast<uint8_t>(c) & 0xC0) != 0x80;
    });
    // Spelled raw bytes are one character each.
    const size_t bytes = raw_bytes ? static_cast<size_t>(characters) : spelling.size();
    bound.max_bytes = std::max(bound.max_bytes, bytes);
  }
  for (int byte = 0; raw_bytes && byte < 256; ++byte) {
    const bool in_utf8 = byte != 0xC0 && byte != 0xC1 && byte < 0xF5;
    bound.vanishing[static_cast<size_t>(byte)] =
        in_utf8 && Lookup(ids, byte_level::Spellings()[static_cast<size_t>(byte)]) < 0;
  }
  return bound;
}

// Which characters stand before U+2581 inside some merge: everywhere else a word starts there, and
// no merge can reach across.
void ByteBpe::NoteBlanks(std::string_view spelling) {
  for (size_t pos = spelling.find(kBlank, 1); pos != std::string_view::npos;
       pos = spelling.find(kBlank, pos + 1)) {
    before_blank_.insert(unicode::DecodeBefore(spelling, pos).code_point);
  }
}

size_t ByteBpe::SafeCut(std::string_view piece, size_t from) const {
  if (!blank_is_token_) return piece.size();
  for (size_t pos = piece.find(kBlank, from + 1); pos != std::string_view::npos;
       pos = piece.find(kBlank, pos + 1)) {
    if (!before_blank_.contains(unicode::DecodeBefore(piece, pos).code_point)) return pos;
  }
  return piece.size();
}

int32_t ByteBpe::Intern(const TokenIds& ids, std::string_view spelling) {
  if (const int32_t id = Lookup(ids, spelling); id >= 0) return id;
  if (const auto it = extra_ids_.find(spelling); it != extra_ids_.end()) return it->second;
  extra_.emplace_back(spelling);
  return extra_ids_.emplace(spelling, vocab_size_ + static_cast<int32_t>(extra_.size()) - 1)
      .first->second;
}

void ByteBpe::Insert(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = KeyOf(left, right);
  size_t i = Mix(key) & (slots_.size() - 1);
  while (slots_[i].merge.rank >= 0) {
    if (slots_[i].key == key) return;  // written twice: the first rank counts
    i = (i + 1) & (slots_.size() - 1);
  }
  slots_[i] = {key, merge};
}

ByteBpe::Merge ByteBpe::Find(int32_t left, int32_t right) const {
  const uint64_t key = KeyOf(left, right);
  size_t i = Mix(key) & (slots_.size() - 1);
  while (slots_[i].merge.rank >= 0) {
    if (slots_[i].key == key) return slots_[i].merge;
    i = (i + 1) & (slots_.size() - 1);
  }
  return {};
}

void ByteBpe::Fallback(std::string_view character, std::vector<int32_t>& symbols,
                       bool& last_unk) const {
  if (options_.byte_fallback) {
    const bool known = std::all_of(character.begin(), character.end(), [&](char c) {
      return fallback_ids_[static_cast<uint8_t>(c)] >= 0;
    });
    if (known) {
      for (const char c : character) symbols.push_back(fallback_ids_[static_cast<uint8_t>(c)]);
      last_unk = false;
      return;
    }
  }
  if (!options_.unk_id) return;
  if (!(options_.fuse_unk && last_unk)) symbols.push_back(*options_.unk_id);
  last_unk = true;
}

void ByteBpe::Start(const TokenIds& ids, std::string_view piece, bool raw_bytes,
                    std::vector<int32_t>& symbols) const {
  bool last_unk = false;
  if (raw_bytes) {
    for (const char c : piece) {
      const int32_t symbol = byte_symbols_[static_cast<uint8_t>(c)];
      if (symbol >= 0) {
        symbols.push_back(symbol);
        last_unk = false;
      } else {
        Fallback(byte_level::Spellings()[static_cast<uint8_t>(c)], symbols, last_unk);
      }
    }
    return;
  }
  for (size_t pos = 0; pos < piece.size();) {
    const std::string_view character = piece.substr(pos, unicode::DecodeAt(piece, pos).length);
    pos += character.size();
    int32_t symbol = Lookup(ids, character);
    if (symbol < 0 && !extra_ids_.empty()) {
      const auto it = extra_ids_.find(character);
      if (it != extra_ids_.end()) symbol = it->second;
    }
    if (symbol >= 0) {
      symbols.push_back(symbol);
      last_unk = false;
    } else {
      Fallback(character, symbols, last_unk);
    }
  }
}

void ByteBpe::MergeShort(std::vector<int32_t>& symbols) const {
  std::array<Merge, kShort> merges;
  size_t count = symbols.size();
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = Find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = count;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (merges[i].rank >= 0 && (best == count || merges[i].rank < merges[best].rank)) best = i;
    }
    if (best == count) break;
    symbols[best] = merges[best].symbol;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      merges[i] = merges[i + 1];
    }
    --count;
    if (best > 0) merges[best - 1] = Find(symbols[best - 1], symbols[best]);
    if (best + 1 < count) merges[best] = Find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(count);
}

void ByteBpe::MergeLong(std::vector<int32_t>& symbols) const {
  struct Candidate {
    int32_t rank, pos, symbol;
    bool operator<(const Candidate& other) const {  // the queue gives the largest first
      return rank != other.rank ? rank > other.rank : pos > other.pos;
    }
  };
  std::vector<Symbol> chain(symbols.size());
  std::priority_queue<Candidate> queue;
  const int32_t size = static_cast<int32_t>(symbols.size());
  const auto offer = [&](int32_t pos) {
    if (pos < 0 || chain[pos].next >= size) return;
    const Merge merge = Find(chain[pos].id, chain[chain[pos].next].id);
    if (merge.rank >= 0) queue.push({merge.rank, pos, merge.symbol});
  };
  for (int32_t i = 0; i < size; ++i) chain[i] = {symbols[i], i - 1, i + 1};
  for (int32_t i = 0; i + 1 < size; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = chain[top.pos];
    if (left.id < 0 || left.next >= size) continue;
    Symbol& right = chain[left.next];
    const Merge merge = Find(left.id, right.id);  // the pair may have changed since it was offered
    if (merge.rank < 0 || merge.symbol != top.symbol) continue;
    left.id = merge.symbol;
    right.id = -1;
    left.next = right.next;
    if (left.next < size) chain[left.next].prev = top.pos;
    offer(left.prev);
    offer(top.pos);
  }
  symbols.clear();
  for (int32_t i = 0; i < size; i = chain[i].next) symbols.push_back(chain[i].id);
}

void ByteBpe::EncodeUncached(const TokenIds& ids, std::string_view piece, bool raw_bytes,
                             std::vector<int32_t>& out) const {
  if (options_.ignore_merges) {
    const int32_t id = raw_bytes ? Lookup(ids, byte_level::Encode(piece)) : Lookup(ids, piece);
    if (id >= 0) {
      out.push_back(id);
      return;
    }
  }
  thread_local std::vector<int32_t> symbols;
  symbols.clear();
  Start(ids, piece, raw_bytes, symbols);
  if (symbols.size() > kShort) {
    MergeLong(symbols);
  } else {
    MergeShort(symbols);
  }
  for (const int32_t symbol : symbols) {
    if (symbol < vocab_size_) {
      out.push_back(symbol);
      continue;
    }
    // A step between merges that is no token itself: its characters, where those are tokens.
    const std::string& spelling = extra_[symbol - vocab_size_];
    for (size_t pos = 0; pos < spelling.size();) {
      const int length = unicode::DecodeAt(spelling, pos).length;
      const int32_t id = Lookup(ids, std::string_view(spelling).substr(pos, length));
      if (id >= 0) out.push_back(id);
      pos += length;
    }
  }
}

void ByteBpe::EncodeCached(const TokenIds& ids, std::string_view piece, bool raw_bytes,
                           std::vector<int32_t>& out) const {
  if (piece.size() > CacheEntry::kMaxBytes) return EncodeUncached(ids, piece, raw_bytes, out);
  const uint32_t owner = serial_ * 2 + raw_bytes;
  const size_t hash = std::hash<std::string_view>{}(piece) + owner * 31;
  CacheEntry& entry = ThreadCache()[hash & (kCacheEntries - 1)];
  if (entry.owner == owner && entry.bytes == piece.size() &&
      std::memcmp(entry.text.data(), piece.data(), piece.size()) == 0) {
    out.insert(out.end(), entry.ids.begin(), entry.ids.begin() + entry.ids_count);
    return;
  }
  const size_t before = out.size();
  EncodeUncached(ids, piece, raw_bytes, out);
  const size_t count = out.size() - before;
  if (count > CacheEntry::kMaxIds) return;
  entry.owner = owner;
  entry.bytes = static_cast<uint8_t>(piece.size());
  entry.ids_count = static_cast<uint8_t>(count);
  std::memcpy(entry.text.data(), piece.data(), piece.size());
  std::copy(out.begin() + static_cast<int64_t>(before), out.end(), entry.ids.begin());
}

void ByteBpe::Encode(const TokenIds& ids, std::string_view piece, bool raw_bytes,
                     std::vector<int32_t>& out) const {
  // A whole text without pre-tokens (Llama 2, Gemma) is cut into words where that is the same.
  const bool whole = raw_bytes || (options_.ignore_merges && Lookup(ids, piece) >= 0);
  for (size_t begin = 0; begin < piece.size();) {
    const size_t end = whole ? piece.size() : SafeCut(piece, begin);
    EncodeCached(ids, piece.substr(begin, end - begin), raw_bytes, out);
    begin = end;
  }
}

}  // namespace slipstream
