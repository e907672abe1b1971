#!/usr/bin/env bash
# Installs what is missing, builds everything, runs every test. With a CUDA compiler the CUDA code
# is compiled for sm_90a too; device tests run where there is a GPU and are counted as skipped
# elsewhere. Then the CPU kernels cross-compiled for AArch64, their tests under qemu, and the unit
# and server tests once more under the address and thread sanitizers.
# Usage: scripts/test.sh [--fast]     --fast leaves out AArch64 and the sanitizer builds
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"

fast=
case ${1:-} in
  '') ;;
  --fast) fast=1 ;;
  -h|--help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) die "unknown option: $1" "See $0 --help" ;;
esac

step "packages"
[ -n "$fast" ] || packages+=(g++-aarch64-linux-gnu qemu-user-static chromium)
install_packages
step "model and test clients"
fetch_model
python=$(python_env)
echo "clients: $(grep -c == "$root/tests/requirements.txt") Python packages"
command -v chromium > /dev/null || echo "no chromium here: the test of the page is skipped"

step "include directions and layout"
python3 "$root/scripts/check_layers.py"

preset=cpu
if command -v nvcc > /dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  preset=cuda
else
  echo "no CUDA compiler here: the CUDA code is not compiled (CI has one)"
fi

failed=0
# run_tests PRESET CTEST_ARGS...: results as XML, one file per test program.
run_tests() {
  local preset=$1 results=$root/build/$1/results
  shift
  rm -rf "$results"
  mkdir -p "$results"
  (cd "$root/build/$preset" && GTEST_OUTPUT="xml:$results/" ctest --output-on-failure "$@") || failed=1
}

step "build ($preset)"
cmake_args=(-DSLIPSTREAM_TESTS=ON "-DSLIPSTREAM_TEST_PYTHON=$python")
configure_and_build "$preset" all
step "tests ($preset)"
run_tests "$preset"

# unit_tests PRESET: its unit tests and replayed fuzz corpora, which are also names of targets.
unit_tests() {
  ctest --test-dir "$root/build/$1" -N -L '^(unit|fuzz)$' | sed -n 's/^ *Test *#[0-9]*: //p'
}

if [ -z "$fast" ]; then
  arm_tests=(cpu_gemm_test cpu_attention_test cpu_elementwise_test)
  step "build (arm64)"
  cmake_args=()
  configure arm64
  build arm64 "${arm_tests[@]}"
  step "tests (arm64)"
  GTEST_FILTER='*neon*' run_tests arm64 -j "$jobs" -R "^($(IFS='|'; echo "${arm_tests[*]}"))\$"

  cmake_args=(-DSLIPSTREAM_TESTS=ON "-DSLIPSTREAM_TEST_PYTHON=$python")
  # The thread sanitizer knows nothing of Debian's gRPC, which is not built with it.
  threaded='^(base|tcp_channel|thread_pool|cpu_backend|runtime|remote_executor|engine|engine_core|random_schedule|wire|server_parts)_test$'
  for sanitizer in asan tsan; do
    step "build ($sanitizer)"
    configure "$sanitizer"
    mapfile -t targets < <(unit_tests "$sanitizer")
    if [ "$sanitizer" = tsan ]; then
      mapfile -t targets < <(printf '%s\n' "${targets[@]}" | grep -E "$threaded")
    fi
    build "$sanitizer" "${targets[@]}"
    step "tests ($sanitizer)"
    run_tests "$sanitizer" -R "^($(IFS='|'; echo "${targets[*]}"))\$"
  done

  if command -v clang++-16 > /dev/null; then
    step "build (fuzz)"
    configure fuzz
    mapfile -t targets < <(unit_tests fuzz | grep '^fuzz_')
    build fuzz "${targets[@]}"
    step "fuzz targets, a few seconds each"
    (cd "$root/build/fuzz" && ctest --output-on-failure -L fuzz) || failed=1
  else
    echo "no clang++-16 here: fuzz targets were replayed on their corpora only"
  fi
fi

step "summary"
python3 "$root/scripts/lib/summarize_tests.py" "$root"/build/{cuda,cpu,arm64,asan,tsan}/results || failed=1
exit $failed
