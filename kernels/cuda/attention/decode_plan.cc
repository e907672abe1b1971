#include "kernels/cuda/attention/decode_plan.h"

#include <algorithm>
#include <vector>

namespace slipstream::kernels {
namespace {

int CeilDiv(int a, int b) { return (a + b - 1) / b; }

struct TileRange {
  int begin, end;
  int size() const { return end - begin; }
};

// Tiles that any query of the sequence can see.
TileRange RowTiles(const DecodePlanShape& shape, int kv_len, int query_len) {
  const int tile = DecodeTileTokens(shape.kv_dtype);
  const int end = CeilDiv(kv_len, tile);
  if (shape.sliding_window <= 0) return {0, end};
  const int first_query = std::max(kv_len - query_len, 0);
  const int first_token = std::max(first_query - shape.sliding_window + 1, 0);
  return {std::min(first_token / tile, end), end};
}

// Where the line is cut: shares c = 0.. in line order are [cuts[c], cuts[c + 1]).
using Cuts = std::vector<int64_t>;

struct RowSize {
  int seq;
  int64_t tiles;  // of each of the sequence's rows
  int rows;       // KV heads x passes
};

constexpr int64_t kStraddleTiles = 3;  // what a second row costs a CTA, in tiles of its time

// One share per CTA, no share in two rows: row r gets a number of CTAs in proportion to its tiles.
// Empty if the shares would be too unequal.
Cuts AlignedCuts(const std::vector<RowSize>& sizes, int64_t total, int shares) {
  int64_t rows = 0;
  for (const RowSize& r : sizes) rows += r.tiles > 0 ? r.rows : 0;
  if (rows == 0 || rows > shares) return {};
  Cuts cuts{0};
  int64_t largest = 0;
  for (const RowSize& r : sizes) {
    const int64_t n = std::max<int64_t>(r.tiles * shares / total, 1);
    for (int i = 0; r.tiles > 0 && i < r.rows; ++i) {
      const int64_t start = cuts.back();
      const int64_t parts = std::min(n, r.tiles);
      for (int64_t c = 1; c <= parts; ++c) cuts.push_back(start + r.tiles * c / parts);
      largest = std::max(largest, (r.tiles + parts - 1) / parts);
    }
  }
  const int64_t used = static_cast<int64_t>(cuts.size()) - 1;
  if (used > shares) return {};
  const int64_t plain = (total + shares - 1) / shares + kStraddleTiles;
  return largest * used <= plain * shares ? cuts : Cuts{};
}

Cuts MakeCuts(const DecodePlanShape& shape, const std::vector<RowSize>& sizes, int64_t total) {
  const int64_t min_tiles = std::max(shape.min_tiles_per_cta, 1);
  const int shares =
      static_cast<int>(std::clamp<int64_t>((total + min_tiles - 1) / min_tiles, 1, shape.grid));
  Cuts cuts = AlignedCuts(sizes, total, shares);
  if (!cuts.empty()) return cuts;
  cuts.resize(shares + 1);
  for (int c = 0; c <= shares; ++c) cuts[c] = total * c / shares;
  return cuts;
}

// Fills the plan in line order; share c of the line is number count - 1 - c.
class PlanWriter {
 public:
  PlanWriter(const DecodePlanShape& shape, int count, std::span<std::byte> buffer)
      : count_(count),
        base_(reinterpret_cast<DecodeSegment*>(buffer.data())),
        shares_(reinterpret_cast<DecodeShare*>(buffer.data()) + shape.grid),
        next_(2 * shape.grid) {
    for (int n = 0; n < shape.grid; ++n) {
      base_[n] = {0, 0, 0, 0};
      shares_[n] = {0, 0, n, n};
    }
  }

  // Segments of one share arrive together: shares are filled in line order.
  void Append(int c, const DecodeSegment& s) {
    DecodeShare& share = shares_[Number(c)];
    if (Empty(c)) {
      base_[Number(c)] = s;
      share.rest_begin = next_;
    } else {
      base_[next_++] = s;
    }
    ++share.num_segments;
  }
  void MarkTail(int c) { shares_[Number(c)].num_segments |= kFirstIsTail; }
  void MarkSplit(int c, int first, int last) {
    shares_[Number(c)].merge_first = Number(first);
    shares_[Number(c)].merge_last = Number(last);
  }
  bool Empty(int c) const { return NumSegments(shares_[Number(c)]) == 0; }
  size_t used_bytes() const { return static_cast<size_t>(next_) * sizeof(DecodeSegment); }

 private:
  int Number(int c) const { return count_ - 1 - c; }

  int count_;
  DecodeSegment* base_;
  DecodeShare* shares_;
  int next_;
};

}  // namespace

int DecodeTileTokens(DType kv_dtype) { return kv_dtype == DType::kF8E4M3 ? 32 : 16; }

int DecodeRowsPerPass(const DecodePlanShape& shape) {
  const int rows = shape.group * shape.max_query_len;
  if (rows <= 8) return 8;
  if (rows <= 16 || shape.head_dim > 128) return 16;  // registers hold 16 rows at head_dim 256
  return 32;
}

int DecodeNumPasses(const DecodePlanShape& shape) {
  return CeilDiv(shape.group * shape.max_query_len, DecodeRowsPerPass(shape));
}

size_t DecodePlanBytes(const DecodePlanShape& shape) {
  const size_t rows =
      static_cast<size_t>(shape.max_seqs) * shape.num_kv_heads * DecodeNumPasses(shape);
  return (3 * static_cast<size_t>(shape.grid) + rows) * sizeof(DecodeSegment);
}

size_t DecodeScratchBytes(const DecodePlanShape& shape) {
  // Two partial results per share; a record is 32 values, their maximum, their sum and padding.
  const size_t records = static_cast<size_t>(DecodeRowsPerPass(shape)) * shape.head_dim / 32;
  return 2 * static_cast<size_t>(shape.grid) * records * 36 * sizeof(float);
}

DecodePlanResult BuildDecodePlan(const DecodePlanShape& shape, const DecodePlanInput& in,
                                 std::span<std::byte> buffer) {
  const int num_seqs = static_cast<int>(in.kv_len.size());
  if (shape.grid < 1 || shape.num_kv_heads < 1 || num_seqs > shape.max_seqs ||
      buffer.size() < DecodePlanBytes(shape) ||
      (!in.query_len.empty() && in.query_len.size() != in.kv_len.size())) {
    return {KernelStatus::kInvalidArgument, 0};
  }
  const int rows_per_pass = DecodeRowsPerPass(shape);
  auto query_len = [&](int s) { return in.query_len.empty() ? 1 : in.query_len[s]; };
  auto passes = [&](int s) { return CeilDiv(shape.group * query_len(s), rows_per_pass); };
  int64_t total = 0;
  std::vector<RowSize> sizes(num_seqs);
  for (int s = 0; s < num_seqs; ++s) {
    if (in.kv_len[s] < 0 || query_len(s) < 0 || query_len(s) > shape.max_query_len) {
      return {KernelStatus::kInvalidArgument, 0};
    }
    sizes[s] = {s, RowTiles(shape, in.kv_len[s], query_len(s)).size(),
                shape.num_kv_heads * passes(s)};
    total += sizes[s].tiles * sizes[s].rows;
  }
  const Cuts cuts = total > 0 ? MakeCuts(shape, sizes, total) : Cuts{0, 0};
  const int count = static_cast<int>(cuts.size()) - 1;

  PlanWriter plan(shape, count, buffer);
  int64_t pos = 0;
  int current = 0;  // share that holds `pos`
  for (int s = 0; s < num_seqs; ++s) {
    const TileRange tiles = RowTiles(shape, in.kv_len[s], query_len(s));
    for (int pass = 0; pass < passes(s); ++pass) {
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        const int32_t head_pass = head | pass << 16;
        if (tiles.size() == 0) {
          // Zeros still have to be written. The row before is complete (or there is none), so this
          // segment disturbs no split row of `current`; one that follows comes after it.
          plan.Append(current, {s, head_pass, 0, 0});
          continue;
        }
        const int64_t end = pos + tiles.size();
        while (cuts[current + 1] <= pos) ++current;
        const int first = current;
        while (cuts[current + 1] < end) ++current;
        const int last = current;
        for (int c = first; c <= last; ++c) {
          const int64_t from = std::max(cuts[c], pos), to = std::min(cuts[c + 1], end);
          if (first != last && c == last && plan.Empty(c)) plan.MarkTail(c);
          plan.Append(c, {s, head_pass, tiles.begin + static_cast<int>(from - pos),
                          tiles.begin + static_cast<int>(to - pos)});
          if (first != last && c != last) plan.MarkSplit(c, first, last);
        }
        pos = end;
      }
    }
  }
  return {KernelStatus::kOk, plan.used_bytes()};
}

}  // namespace slipstream::kernels
