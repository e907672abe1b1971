#!/bin/bash
# Decode-attention suites on one GPU into one CSV. Usage: attention_run.sh BIN CSV COMMIT [SUITE...]
# Without suites, all of them. A suite may carry its keys: "peers pdl=1".
set -eu
bin=$1
csv=$2
key="commit=$3 date=$(date +%F) out=$csv"
shift 3
[ $# -gt 0 ] || { set -- peers "peers pdl=1" chain fp8 paper sweep; "$bin" ceiling; }
[ -s "$csv" ] || echo "card,date,commit,heads,kv_heads,head_dim,kv_dtype,block,batch,context,impl,distance,us,gbs" > "$csv"
for suite in "$@"; do
  # shellcheck disable=SC2086  # a suite and its keys are words
  "$bin" $suite $key
done
