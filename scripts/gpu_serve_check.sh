#!/usr/bin/env bash
# The server on a GPU with a real model: a short run under compute-sanitizer, then minutes of mixed
# load, each with every kind of request, leaving clients and wrong bodies (tests/soak/). Usage:
#   gpu_serve_check.sh SLIPSTREAM MODEL [REPORT [SECONDS]]
# SLIPSTREAM: the binary of a CUDA build. MODEL: a .gguf file or folder with a tokenizer. REPORT gets
# the soak's report. For a trial without a GPU: DEVICE=cpu SANITIZER=env. STEPS: "sanitizer load", or
# one of them; PORT: 8125; COMMIT: for the report.
set -euo pipefail
slipstream=${1:?usage: gpu_serve_check.sh SLIPSTREAM MODEL [REPORT [SECONDS]]}
model=${2:?usage: gpu_serve_check.sh SLIPSTREAM MODEL [REPORT [SECONDS]]}
report=${3:-gpu_soak.txt}
seconds=${4:-600}
device=${DEVICE:-cuda}
read -ra sanitizer <<<"${SANITIZER:-compute-sanitizer --tool memcheck --error-exitcode 1}"
root=$(cd "$(dirname "$0")/.." && pwd)
url=http://127.0.0.1:${PORT:-8125}
steps=" ${STEPS:-sanitizer load} "
log=$(mktemp)
pid=
trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null; rm -f "$log"' EXIT

start() { # COMMAND...   sets pid; returns when the server is ready
  "$@" serve "$model" --device "$device" --port "${url##*:}" --max-model-len 4096 \
    --kv-cache-bytes 268435456 >"$log" 2>&1 &
  pid=$!
  for _ in $(seq 3000); do
    if curl -fs "$url/ready" >/dev/null 2>&1; then return 0; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "the server did not start:"
  tail -n 30 "$log"
  return 1
}

# The server itself: a sanitizer and its helpers are processes of their own, with the same arguments,
# and pass no signal on.
server_pid() {
  local candidate
  for candidate in $(pgrep -f -- " serve $model .*--port ${url##*:}"); do
    if [ "/proc/$candidate/exe" -ef "$slipstream" ]; then echo "$candidate"; fi
  done
}

stop() { # it must end well
  kill -TERM "$(server_pid)"
  local status=0
  wait "$pid" || status=$?
  pid=
  if [ "$status" != 0 ]; then
    echo "the server ended with status $status:"
    tail -n 60 "$log"
  fi
  return "$status"
}

card=
[ "$device" = cpu ] || card=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
soak() {
  python3 "$root/tests/soak/soak.py" --url "$url" --commit "${COMMIT:-unknown}" --card "$card" "$@"
}

if [[ $steps == *" sanitizer "* ]]; then
  echo "== serving under ${sanitizer[*]}"
  start "${sanitizer[@]}" "$slipstream"
  soak --seconds 45 --clients 8
  stop
fi
if [[ $steps == *" load "* ]]; then
  echo "== $seconds s of mixed load"
  start "$slipstream"
  soak --seconds "$seconds" --clients 64 --pid "$pid" --report "$report"
  stop
fi
echo "ALL PASSED"
