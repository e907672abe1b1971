#include "tokenizer/unigram.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>

#include "tokenizer/byte_level.h"
#include "tokenizer/unicode.h"

namespace slipstream {
namespace {

constexpr double kUnkPenalty = 10.0;  // an unknown character scores this much below the worst piece
constexpr size_t kMaxPieceBytes = 1024;  // keeps the search linear; real pieces are far shorter

}  // namespace

Unigram::Unigram(std::vector<UnigramPiece> pieces, std::optional<int32_t> unk_id,
                 bool byte_fallback)
    : unk_id_(unk_id) {
  double worst = std::numeric_limits<double>::infinity();
  scores_.reserve(pieces.size());
  for (size_t id = 0; id < pieces.size(); ++id) {
    worst = std::min(worst, pieces[id].score);
    scores_.push_back(pieces[id].score);
    if (pieces[id].text.empty() || pieces[id].text.size() > kMaxPieceBytes) continue;
    max_piece_bytes_ = std::max(max_piece_bytes_, pieces[id].text.size());
    // Of equal spellings the last counts, as in the reference.
    pieces_.insert_or_assign(std::move(pieces[id].text), static_cast<int32_t>(id));
  }
  unk_score_ = worst - kUnkPenalty;
  if (!byte_fallback) return;
  for (int byte = 0; byte < 256; ++byte) {
    std::array<char, 8> spelling{};
    std::snprintf(spelling.data(), spelling.size(), "<0x%02X>", static_cast<unsigned>(byte));
    const auto it = pieces_.find(std::string_view(spelling.data()));
    if (it == pieces_.end()) {
      fallback_ids_.clear();
      return;
    }
    fallback_ids_.push_back(it->second);
  }
}

void Unigram::AppendUnknown(std::string_view text, std::vector<int32_t>& out) const {
  if (!fallback_ids_.empty()) {
    for (const char c : text) out.push_back(fallback_ids_[static_cast<uint8_t>(c)]);
  } else if (unk_id_) {
    out.push_back(*unk_id_);
  }
}

void Unigram::Encode(const TokenIds&, std::string_view piece, bool raw_bytes,
                     std::vector<int32_t>& out) const {
  const std::string spelled = raw_bytes ? byte_level::Encode(piece) : std::string();
  const std::string_view text = raw_bytes ? std::string_view(spelled) : piece;
  struct Best {
    double score = -std::numeric_limits<double>::infinity();
    size_t begin = 0;
    int32_t id = -1;  // -1: unknown
  };
  std::vector<Best> best(text.size() + 1);
  best[0].score = 0.0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t one = static_cast<size_t>(unicode::DecodeAt(text, pos).length);
    const double base = best[pos].score;
    bool single = false;
    for (size_t end = pos + one; end <= text.size() && end - pos <= max_piece_bytes_;) {
      const auto it = pieces_.find(text.substr(pos, end - pos));
      if (it != pieces_.end()) {
        const double score = base + scores_[static_cast<size_t>(it->second)];
        if (score > best[end].score) best[end] = {score, pos, it->second};
        single = single || end == pos + one;
      }
      if (end == text.size()) break;
      end += static_cast<size_t>(unicode::DecodeAt(text, end).length);
    }
    if (!single && base + unk_score_ > best[pos + one].score) {
      best[pos + one] = {base + unk_score_, pos, -1};
    }
    pos += one;
  }
  std::vector<std::pair<size_t, size_t>> spans;
  for (size_t end = text.size(); end > 0; end = best[end].begin)
    spans.emplace_back(best[end].begin, end);
  std::reverse(spans.begin(), spans.end());
  for (size_t i = 0; i < spans.size(); ++i) {
    const auto [begin, end] = spans[i];
    if (best[end].id >= 0) {
      out.push_back(best[end].id);
      continue;
    }
    size_t last = i;  // neighbouring unknown characters are one unknown
    while (last + 1 < spans.size() && best[spans[last + 1].second].id < 0) ++last;
    AppendUnknown(text.substr(begin, spans[last].second - begin), out);
    i = last;
  }
}

}  // namespace slipstream
