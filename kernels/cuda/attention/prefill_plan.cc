#include "kernels/cuda/attention/prefill_plan.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

namespace slipstream::kernels {
namespace {

// What an item costs beside its tiles, in tiles: queries in, output out, the pipeline filling up.
constexpr int kItemTiles = 1;

int64_t CostOf(const PrefillItem& item) { return item.tile_end - item.tile_begin + kItemTiles; }

PrefillItem MakeItem(const PrefillPlanShape& shape, PrefillItem item, int kv_head, int first_row) {
  const int tile = PrefillTileTokens(shape.head_dim);
  const int last_row = std::min(first_row + kPrefillRows, item.query_len * shape.group) - 1;
  const int position0 = item.kv_len - item.query_len;
  const int first_position = position0 + first_row / shape.group;
  const int last_position = position0 + last_row / shape.group;
  item.kv_head = kv_head;
  item.first_row = first_row;
  item.tile_begin =
      shape.sliding_window > 0 ? std::max(first_position - shape.sliding_window + 1, 0) / tile : 0;
  item.tile_end = last_position / tile + 1;
  return item;
}

void AppendItems(const PrefillPlanShape& shape, const PrefillItem& item,
                 std::vector<PrefillItem>& items) {
  for (int row = 0; row < item.query_len * shape.group; row += kPrefillRows) {
    for (int head = 0; head < shape.num_kv_heads; ++head) {
      items.push_back(MakeItem(shape, item, head, row));
    }
  }
}

// All items of the step; false if lengths contradict each other or the capacity.
bool ListItems(const PrefillPlanShape& shape, const PrefillPlanInput& in,
               std::vector<PrefillItem>& items) {
  int64_t seqs = 0, tokens = 0;
  for (size_t s = 0; s < in.kv_len.size(); ++s) {
    PrefillItem item{};
    item.seq = static_cast<int32_t>(s);
    item.first_token = in.query_start[s];
    item.query_len = in.query_start[s + 1] - item.first_token;
    item.kv_len = in.kv_len[s];
    if (item.first_token < 0 || item.query_len < 0) return false;
    if (item.query_len < std::max(in.min_query_len, 1)) continue;
    if (item.query_len > item.kv_len) return false;
    ++seqs;
    tokens += item.query_len;
    if (seqs > shape.max_seqs || tokens > shape.max_tokens) return false;
    AppendItems(shape, item, items);
  }
  return true;
}

// Items of each CTA, longest first. Equal items keep their order, so that CTAs that start together
// read the same KV at the same time.
std::vector<std::vector<PrefillItem>> Deal(int grid, std::vector<PrefillItem> items) {
  std::stable_sort(items.begin(), items.end(), [](const PrefillItem& a, const PrefillItem& b) {
    return CostOf(a) > CostOf(b);
  });
  using Load = std::pair<int64_t, int>;  // tiles so far, CTA
  std::vector<Load> start;
  for (int c = 0; c < grid; ++c) start.push_back({0, c});
  std::priority_queue<Load, std::vector<Load>, std::greater<>> loads(std::greater<>{},
                                                                     std::move(start));
  std::vector<std::vector<PrefillItem>> dealt(grid);
  for (const PrefillItem& item : items) {
    Load least = loads.top();
    loads.pop();
    dealt[least.second].push_back(item);
    least.first += CostOf(item);
    loads.push(least);
  }
  return dealt;
}

}  // namespace

size_t PrefillPlanBytes(const PrefillPlanShape& shape) {
  const size_t full = static_cast<size_t>(shape.max_tokens) * shape.group / kPrefillRows;
  return PrefillItemsOffset(shape.grid) +
         (full + shape.max_seqs) * shape.num_kv_heads * sizeof(PrefillItem);
}

PrefillPlanResult BuildPrefillPlan(const PrefillPlanShape& shape, const PrefillPlanInput& in,
                                   std::span<std::byte> buffer) {
  const PrefillPlanResult invalid{KernelStatus::kInvalidArgument, 0, 0};
  if (shape.grid < 1 || shape.num_kv_heads < 1 || shape.group < 1 || shape.max_seqs < 0 ||
      shape.max_tokens < 0 || in.query_start.size() != in.kv_len.size() + 1 ||
      buffer.size() < PrefillPlanBytes(shape)) {
    return invalid;
  }
  std::vector<PrefillItem> items;
  if (!ListItems(shape, in, items)) return invalid;
  const int num_items = static_cast<int>(items.size());
  auto* begin = reinterpret_cast<int32_t*>(buffer.data());
  auto* out = reinterpret_cast<PrefillItem*>(buffer.data() + PrefillItemsOffset(shape.grid));
  int32_t next = 0;
  const auto dealt = Deal(shape.grid, std::move(items));
  for (int c = 0; c < shape.grid; ++c) {
    begin[c] = next;
    for (const PrefillItem& item : dealt[c]) out[next++] = item;
  }
  begin[shape.grid] = next;
  return {KernelStatus::kOk, PrefillItemsOffset(shape.grid) + num_items * sizeof(PrefillItem),
          num_items};
}

}  // namespace slipstream::kernels
