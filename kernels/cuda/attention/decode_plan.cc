#include "kernels/cuda/attention/decode_plan.h"

#include <algorithm>
#include <cstring>

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

// Cut c of the line of `total` tiles into `shares` equal parts.
int64_t Cut(int64_t total, int shares, int c) { return total * c / shares; }

int ShareOf(int64_t total, int shares, int64_t tile) {
  int c = static_cast<int>(std::min<int64_t>((tile * shares) / total, shares - 1));
  while (c + 1 < shares && Cut(total, shares, c + 1) <= tile) ++c;
  while (c > 0 && Cut(total, shares, c) > tile) --c;
  return c;
}

class PlanWriter {
 public:
  PlanWriter(const DecodePlanShape& shape, std::span<std::byte> buffer)
      : grid_(shape.grid),
        first_(reinterpret_cast<DecodeSegment*>(buffer.data())),
        cta_(reinterpret_cast<DecodeCta*>(buffer.data()) + grid_),
        base_(first_),
        next_(2 * grid_) {
    for (int c = 0; c < grid_; ++c) {
      first_[c] = {0, 0, 0, 0};
      cta_[c] = {0, 0, c, c};
    }
  }

  // Segments of one CTA arrive together: the CTAs are filled in order.
  void Append(int c, const DecodeSegment& s) {
    DecodeCta& cta = cta_[c];
    const int n = cta.num_segments & ~kFirstIsTail;
    if (n == 0) {
      first_[c] = s;
      cta.rest_begin = next_;
    } else {
      base_[next_++] = s;
    }
    ++cta.num_segments;
  }
  void MarkTail(int c) { cta_[c].num_segments |= kFirstIsTail; }
  void MarkSplit(int c, int first, int last) {
    cta_[c].merge_first = first;
    cta_[c].merge_last = last;
  }
  bool Empty(int c) const { return cta_[c].num_segments == 0; }
  size_t used_bytes() const { return static_cast<size_t>(next_) * sizeof(DecodeSegment); }

 private:
  int grid_;
  DecodeSegment* first_;
  DecodeCta* cta_;
  DecodeSegment* base_;
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
  // Two partial results per CTA; a record is 32 values, their maximum, their sum and padding.
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
  for (int s = 0; s < num_seqs; ++s) {
    if (in.kv_len[s] < 0 || query_len(s) < 0 || query_len(s) > shape.max_query_len) {
      return {KernelStatus::kInvalidArgument, 0};
    }
    total += int64_t{RowTiles(shape, in.kv_len[s], query_len(s)).size()} * shape.num_kv_heads *
             passes(s);
  }
  const int64_t min_tiles = std::max(shape.min_tiles_per_cta, 1);
  const int shares =
      static_cast<int>(std::clamp<int64_t>((total + min_tiles - 1) / min_tiles, 1, shape.grid));

  PlanWriter plan(shape, buffer);
  int64_t pos = 0;
  int current = 0;  // CTA whose share holds `pos`
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
        const int first = ShareOf(total, shares, pos);
        const int last = ShareOf(total, shares, pos + tiles.size() - 1);
        for (int c = first; c <= last; ++c) {
          const int64_t from = std::max(Cut(total, shares, c), pos);
          const int64_t to = std::min<int64_t>(Cut(total, shares, c + 1), pos + tiles.size());
          const bool tail = first != last && c == last;
          if (tail && plan.Empty(c)) plan.MarkTail(c);
          plan.Append(c, {s, head_pass, tiles.begin + static_cast<int>(from - pos),
                          tiles.begin + static_cast<int>(to - pos)});
          if (first != last && c != last) plan.MarkSplit(c, first, last);
        }
        pos += tiles.size();
        current = last;
      }
    }
  }
  return {KernelStatus::kOk, plan.used_bytes()};
}

}  // namespace slipstream::kernels
