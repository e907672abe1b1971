#!/usr/bin/env bash
# Measures the front end and appends to docs/benchmarks/frontend.csv: with a model that answers at
# once, then with a model of no weight beside llama.cpp's server, when that is given.
# Usage: scripts/bench/frontend.sh BUILD_DIR [LLAMA_SERVER]
#   BUILD_DIR has slip_bench_frontend and bin/slipstream; quiet machine, about a minute.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:?build folder}
peer=${2:-}
csv=$root/docs/benchmarks/frontend.csv
commit=$(git -C "$root" rev-parse --short HEAD)
bench=$build/tests/server/slip_bench_frontend
vocabulary=(--tokenizer "$root/models/SmolLM2-135M-Instruct.Q4_1.gguf"
  --text "$root/tests/fixtures/tokenizer/lines.txt")

"$bench" "${vocabulary[@]}" --csv "$csv" --commit "$commit"

tiny=$(mktemp --suffix .gguf)
trap 'rm -f "$tiny"; kill "$server" 2> /dev/null || true' EXIT
"$root/scripts/bench/tiny_gguf.py" "$tiny"

# measure ENGINE COMMIT PORT COMMAND...
measure() {
  local engine=$1 version=$2 port=$3
  shift 3
  "$@" > /dev/null 2>&1 &
  server=$!
  for _ in $(seq 100); do
    curl -sf "localhost:$port/health" > /dev/null && break
    sleep 0.1
  done
  "$bench" --port "$port" --pid "$server" --engine "$engine" --csv "$csv" --commit "$version"
  kill "$server"
  wait "$server" || true
}

measure 'slipstream (tiny model)' "$commit" 18431 "$build/bin/slipstream" serve "$tiny" \
  --port 18431 --num-threads 1 --max-model-len 4096 --kv-cache-bytes 268435456 --no-log-requests
[ -z "$peer" ] || measure 'llama.cpp server (tiny model)' llama-cpp-python-0.3.36 18432 "$peer" \
  -m "$tiny" --port 18432 -t 1 -np 16 -c 65536 --log-disable
