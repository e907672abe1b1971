#!/usr/bin/env bash
# From a fresh clone on Debian 12 to a streamed answer: installs packages, fetches the default
# model, builds, starts the server, asks one question, and leaves the server up until Ctrl-C.
# Usage: scripts/quickstart.sh [--port N] [--question TEXT] [--once]
#   --port N         port to listen on (default 8000)
#   --question TEXT  what to ask
#   --once           stop the server after the answer
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"

port=8000 question="Explain in two sentences what a KV cache is." once=
while [ $# -gt 0 ]; do
  case $1 in
    --port) port=${2:?--port needs a number}; shift 2 ;;
    --question) question=${2:?--question needs a text}; shift 2 ;;
    --once) once=1; shift ;;
    -h|--help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown option: $1" "See $0 --help" ;;
  esac
done

step "1/5 packages"
install_packages
step "2/5 model"
fetch_model
step "3/5 build"
cmake_args=(-DSLIPSTREAM_TESTS=OFF)
configure_and_build cpu slipstream
binary=$root/build/cpu/bin/slipstream

step "4/5 server"
log=$root/build/server.log
# A session of its own: the terminal's Ctrl-C must reach this script alone, since the server takes a
# second signal as an order to stop at once.
setsid "$binary" serve "$model_file" --host 127.0.0.1 --port "$port" --model-name smollm2-135m \
  > "$log" 2>&1 &
server=$!
stop() {
  trap - EXIT
  trap 'kill -TERM "$server" 2> /dev/null' INT TERM
  kill -TERM "$server" 2> /dev/null || true
  while kill -0 "$server" 2> /dev/null; do wait "$server" 2> /dev/null || true; done
}
trap stop EXIT
trap 'printf "\ndraining: running requests finish, then the server stops (again Ctrl-C: at once)\n"; stop; exit 0' INT TERM
ready=
for _ in $(seq 300); do
  kill -0 "$server" 2> /dev/null || { cat "$log" >&2; die "the server stopped" "Its words are above."; }
  if curl -sf "http://127.0.0.1:$port/ready" > /dev/null 2>&1; then ready=1; break; fi
  sleep 0.1
done
[ -n "$ready" ] || { cat "$log" >&2; die "the server was not ready within 30 s" "Its log: $log"; }
cat "$log"

step "5/5 question: $question"
body=$(python3 -c 'import json, sys; print(json.dumps({"model": "smollm2-135m", "stream": True,
  "max_tokens": 128, "temperature": 0, "messages": [{"role": "user", "content": sys.argv[1]}]}))' "$question")
curl -sSfN "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' -d "$body" |
  python3 -u -c '
import json, sys
for line in sys.stdin:
    if line.startswith("data: {"):
        for choice in json.loads(line[6:])["choices"]:
            print(choice["delta"].get("content") or "", end="", flush=True)
print()' || die "the question failed" "The server log: $log"

step "done"
if [ -n "$once" ]; then exit 0; fi
cat <<END
The server is up at http://127.0.0.1:$port (log: $log). Try from another terminal:

  curl -N http://127.0.0.1:$port/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "smollm2-135m", "stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'

Ctrl-C drains and stops it.
END
wait "$server"
