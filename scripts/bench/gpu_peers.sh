#!/usr/bin/env bash
# Our attention kernels and other libraries' on one GPU in one run, a few minutes at most:
#   scripts/bench/gpu_peers.sh BIN_DIR OUT_DIR COMMIT
# BIN_DIR holds attention_bench, prefill_bench and libchain_link.so of a CUDA build. Appends to
# OUT_DIR/attention_decode.csv and prefill_attention.csv. FlashAttention-3 is that of the vllm package
# which python3 finds, FlashInfer and XQA that of flashinfer, whose compiled modules are taken from
# BIN_DIR/flashinfer (peers_decode.py --compile makes them, without a GPU) or else compiled first.
# A step that fails is named at the end and leaves the others their turn.
set -u
bin=${1:?usage: gpu_peers.sh BIN_DIR OUT_DIR COMMIT}
out=${2:?usage: gpu_peers.sh BIN_DIR OUT_DIR COMMIT}
commit=${3:?usage: gpu_peers.sh BIN_DIR OUT_DIR COMMIT}
here=$(cd "$(dirname "$0")" && pwd)
failed=()
mkdir -p "$out"

step() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 begin=$SECONDS
  shift 2
  echo "== $name"
  timeout "$limit" "$@" 2>&1 | tee "$out/$name.log"
  [ "${PIPESTATUS[0]}" = 0 ] || failed+=("$name")
  echo "== $name: $((SECONDS - begin)) s"
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm --format=csv,noheader
modules=$bin/flashinfer
if ! compgen -G "$modules/*/*.so" >/dev/null; then
  modules=${TMPDIR:-/tmp}/flashinfer_modules  # before anything is timed: it takes every core
  step compile 240 python3 "$here/peers_decode.py" --compile "$modules"
fi
step attention_bench 120 "$here/attention_run.sh" "$bin/attention_bench" "$out/attention_decode.csv" \
  "$commit" peers "peers pdl=1" chain
step prefill_bench 60 "$bin/prefill_bench" "$out/prefill_attention.csv" "$commit"
step peers_prefill 120 python3 "$here/peers_prefill.py" "$out/prefill_attention.csv"
step peers_decode 240 python3 "$here/peers_decode.py" "$out/attention_decode.csv" \
  --link "$bin/libchain_link.so" --modules "$modules"

[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
