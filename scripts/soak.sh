#!/usr/bin/env bash
# Builds the CPU program, fetches the small model and runs the soak of tests/soak/: twenty minutes of
# mixed requests, leaving clients and wrong bodies, then SIGTERM under load.
# Usage: scripts/soak.sh [--seconds N] [more options of tests/soak/soak.py]
#        python3 tests/soak/soak.py --url http://host:8000 --seconds 600      any running server
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"

install_packages
fetch_model
cmake_args=()
configure cpu
build cpu slipstream
step "soak"
exec python3 "$root/tests/soak/soak.py" --binary "$root/build/cpu/bin/slipstream" \
  --model "$model_file" --commit "$(git -C "$root" rev-parse --short HEAD)" "$@" \
  -- --kv-cache-bytes 268435456 --max-model-len 4096
