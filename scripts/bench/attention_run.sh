#!/bin/bash
# All decode-attention suites on one GPU into one CSV. Usage: attention_run.sh BIN CSV COMMIT
set -eu
bin=$1
csv=$2
key="commit=$3 date=$(date +%F) out=$csv"
[ -s "$csv" ] || echo "card,date,commit,heads,kv_heads,head_dim,kv_dtype,block,batch,context,impl,distance,us,gbs" > "$csv"
"$bin" ceiling
"$bin" peers $key
"$bin" peers $key pdl=1
"$bin" chain $key
"$bin" fp8 $key
"$bin" paper $key
"$bin" sweep $key
