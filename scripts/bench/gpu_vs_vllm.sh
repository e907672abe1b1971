#!/usr/bin/env bash
# Slipstream and vLLM on one GPU in one run, Llama-3.1-8B shape, random bf16 weights:
#   scripts/bench/gpu_vs_vllm.sh SLIPSTREAM OUT_DIR [COMMIT]
# SLIPSTREAM is the binary of a CUDA build. Writes decode_step.csv and server.csv (columns as in
# docs/benchmarks/README.md), both engines' rows, and startup.csv. vLLM is the one that `python3 -c
# "import vllm"` finds; without one its rows are left out, and that is said. Both without prefix
# caching: the loads draw the same prompts, so a later one would find those of an earlier one.
# TOKENIZER: folder with a tokenizer.json of the model's 128k entries, for both servers
# (dummy_tokenizer.py makes one; the model's own files have none); prompts are token ids.
set -euo pipefail
slipstream=${1:?usage: gpu_vs_vllm.sh SLIPSTREAM OUT_DIR [COMMIT]}
out=${2:?usage: gpu_vs_vllm.sh SLIPSTREAM OUT_DIR [COMMIT]}
commit=${3:-unknown}
root=$(cd "$(dirname "$0")/../.." && pwd)
model=$root/configs/models/llama-3.1-8b
tokenizer=${TOKENIZER:?set TOKENIZER to a folder with a tokenizer.json}
card=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)
port=8123
mkdir -p "$out"
say() { echo "== $*" >&2; }

# concurrency:requests:input:output of each closed loop
loads=(1:10:1024:128 16:96:1024:128 64:256:1024:128 256:768:1024:128 8:32:8192:128)

wait_ready() { # PATH PID
  for _ in $(seq 3000); do
    curl -fs "http://127.0.0.1:$port/$1" >/dev/null 2>&1 && return 0
    kill -0 "$2" 2>/dev/null || { say "the server ended before it was ready"; return 1; }
    sleep 0.1
  done
  return 1
}

run_loads() { # ENGINE COMMIT MODEL_NAME
  for load in "${loads[@]}"; do
    IFS=: read -r concurrency requests input output <<<"$load"
    "$slipstream" load --url "http://127.0.0.1:$port" --model "$3" --concurrency "$concurrency" \
      --num-requests "$requests" --input-tokens "$input" --output-tokens "$output" --quiet \
      --vocab-size 30000 --engine "$1" --commit "$2" --card "$card" --dtype bf16 \
      --csv "$out/server.csv"
  done
}

measure_server() { # ENGINE COMMIT MODEL_NAME READY_PATH COMMAND...
  local engine=$1 revision=$2 name=$3 ready=$4 begin end pid rss
  shift 4
  begin=$(date +%s.%N)
  "$@" >"$out/$engine.log" 2>&1 &
  pid=$!
  if wait_ready "$ready" "$pid"; then
    end=$(date +%s.%N)
    rss=$(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status")
    echo "$card,$(date +%F),$revision,llama-3.1-8b,$engine,dummy,$(awk "BEGIN {printf \"%.2f\", $end - $begin}"),$rss" \
      >>"$out/startup.csv"
    run_loads "$engine" "$revision" "$name"
  fi
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

say "decode steps, slipstream"
"$slipstream" bench step "$model" --load-format dummy --device cuda --commit "$commit" \
  --csv "$out/decode_step.csv"
say "server, slipstream"
measure_server slipstream "$commit" llama-3.1-8b ready \
  "$slipstream" serve "$model" --load-format dummy --device cuda --tokenizer "$tokenizer" \
  --port $port --max-num-seqs 256 --max-model-len 16384 --no-enable-prefix-caching

if ! version=$(python3 -c 'import importlib.metadata as m; print(m.version("vllm"))' 2>/dev/null); then
  say "no vllm here: its rows are left out"
  exit 0
fi
say "decode steps, vllm $version"
python3 "$root/scripts/bench/vllm_decode_step.py" "$model" "$card" "$version" "$out/decode_step.csv" \
  >"$out/vllm_decode_step.log" 2>&1
say "server, vllm $version"
measure_server "vllm-$version" "$version" llama-3.1-8b health \
  python3 -m vllm.entrypoints.openai.api_server --model "$model" --served-model-name llama-3.1-8b --load-format dummy \
  --tokenizer "$tokenizer" --port $port --max-model-len 16384 --max-num-seqs 256 \
  --gpu-memory-utilization 0.9 --no-enable-prefix-caching
