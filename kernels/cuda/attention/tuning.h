// Tuning numbers of the decode-attention kernel, in one table with the card and the day of the
// sweep they come from. Plain values; nothing here changes results, only speed.
#pragma once

#include "kernels/api/types.h"

namespace slipstream::kernels {

struct DecodeTuning {
  // Tiles of the shared-memory ring of each warp; 0: as many as fit, up to 8.
  int stages = 0;
  // L2 prefetch: tiles requested behind the ring of each warp; 0: none (the control).
  int prefetch_distance = 0;
  // The plan gives a CTA at least this many tiles before it uses another CTA.
  int min_tiles_per_cta = 4;
  // Programmatic dependent launch: start while the previous kernel of the stream ends. Plan, block
  // tables, lengths and all KV but the newest tokens are then read before the dependency resolves.
  bool dependent_launch = false;
};

}  // namespace slipstream::kernels
