#!/bin/bash
# HBM bytes, L2 hit rate and time of single calls, from the hardware counters.
# Usage: attention_ncu.sh BIN CSV. ncu empties the caches before each pass; clocks are left alone.
set -eu
bin=$1
csv=$2
metrics=dram__bytes_read.sum,lts__t_sector_hit_rate.pct,gpu__time_duration.sum
[ -s "$csv" ] || echo "case,kernel,metric,unit,value" > "$csv"
measure() {
  ncu --clock-control none --metrics $metrics --csv --page raw --print-units base \
    -k 'regex:DecodePrefetch|PaperBaseline' --launch-skip 1 --launch-count 1 \
    "$bin" shape reps=1 "$@" 2>/dev/null |
    python3 -c '
import csv, sys
rows = list(csv.reader(l for l in sys.stdin if l.startswith("\"")))
head, units, row = rows[0], rows[1], rows[2]
for i, h in enumerate(head):
    if "__" in h:
        print(",".join([sys.argv[1], row[head.index("Kernel Name")].split("(")[0].split("<")[0],
                        h, units[i], row[i].replace(",", "")]))' "$*" >> "$csv"
}
for heads in "hq=32 hkv=32" "hq=32 hkv=8" "hq=28 hkv=4" "hq=40 hkv=8"; do
  for impl in paper_base paper_prefetch slipstream; do
    measure $heads batch=64 context=527 impl=$impl
  done
done
for distance in 0 1 4 8; do
  measure hq=32 hkv=8 batch=32 context=2048 distance=$distance
done
measure hq=32 hkv=8 batch=1 context=4096 distance=0
measure hq=32 hkv=8 batch=1 context=4096 distance=4 stages=1
