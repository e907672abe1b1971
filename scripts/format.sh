#!/usr/bin/env bash
# Formats every C++ and CUDA file; with --check, names the files that are not formatted and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t files < <(git ls-files '*.h' '*.cc' '*.cu' '*.cuh')
if [ "${1:-}" = --check ]; then exec clang-format --dry-run --Werror "${files[@]}"; fi
exec clang-format -i "${files[@]}"
