// Tuning numbers of the decode-attention kernel. Plain values; they change speed, not results.
// Defaults from `attention_bench sweep` on an H100 80GB HBM3, 2026-11-24 (the _s and _t rows of
// docs/benchmarks/attention_decode.csv):
//   stages             as many as fit: one stage loses 1-2% at 100 MB and more, three equal two
//   prefetch_distance  0: L2 prefetch behind the ring never won on this card. Distance 1 costs 3-5%
//                      at 130 MB and more, 8 costs 20-55%; under 20 MB all distances are equal
//   prefetch_start     1: from overlapping launches, 2026-11-25 (attention_start.csv): geometric
//                      mean over 0 of 31 shapes 2.4%, at 60 to 250 MB 4.4%; 2 is 0.2% ahead of 1
//                      at 250 MB and more, behind it below
//   min_tiles_per_cta  4: fewer loses up to 1 us to the merge at 2 MB, more leaves SMs idle
#pragma once

#include "kernels/api/types.h"

namespace slipstream::kernels {

struct DecodeTuning {
  // Tiles of the shared-memory ring of each warp; 0: as many as fit, up to 8.
  int stages = 0;
  // L2 prefetch: tiles requested behind the ring of each warp; 0: none (the control).
  int prefetch_distance = 0;
  // L2 prefetch across the dependency: tiles that each warp requests behind its ring once, before
  // it waits for the previous kernel; below 0: nothing is loaded before it (the control). Used with
  // dependent_launch only.
  int prefetch_start = 1;
  // The plan gives a CTA at least this many tiles before it uses another CTA.
  int min_tiles_per_cta = 4;
  // Programmatic dependent launch: start while the previous kernel of the stream ends. Plan, block
  // tables, lengths and all KV but the newest tokens are then read before the dependency resolves.
  bool dependent_launch = false;
};

}  // namespace slipstream::kernels
