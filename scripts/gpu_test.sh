#!/bin/bash
# Device tests and compute-sanitizer on one sm_90 GPU. Usage: gpu_test.sh BIN_DIR [LOG]
# BIN_DIR holds cuda_{decode_prefetch,prefill,kv_cache}_test. The sanitizers run a subset that
# touches every code path with small inputs: they slow the device down a hundredfold.
set -u
bin=$1
log=${2:-gpu_test.log}
small='DecodePrefetch.BlockAndTileEdges:DecodePrefetch.*Empty*:DecodePrefetch.WindowSoftcapSinks'
small+=':DecodePrefetch.AnyGrid*:DecodePrefetch.Adjacent*:DecodePrefetch.Dependent*'
small+=':DecodePrefetch.WideGroups*:DecodePrefetch.OneGraph*:PaperBaseline.*'
small_prefill='Prefill.OneTile*:Prefill.TwoKv*:Prefill.LeavesDecode*'
failed=0
check() { "$@" || { failed=1; echo "FAILED: $*"; }; }
{
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
  check "$bin/cuda_decode_prefetch_test" --gtest_print_time=1
  check timeout 120 "$bin/cuda_prefill_test" --gtest_print_time=1
  check "$bin/cuda_kv_cache_test" --gtest_print_time=1
  for tool in memcheck racecheck initcheck; do
    echo "== compute-sanitizer $tool"
    check timeout 150 compute-sanitizer --tool $tool --error-exitcode 1 \
      "$bin/cuda_decode_prefetch_test" --gtest_brief=1 --gtest_filter="$small"
    check timeout 60 compute-sanitizer --tool $tool --error-exitcode 1 \
      "$bin/cuda_prefill_test" --gtest_brief=1 --gtest_filter="$small_prefill"
    check timeout 60 compute-sanitizer --tool $tool --error-exitcode 1 \
      "$bin/cuda_kv_cache_test" --gtest_brief=1
  done
  [ $failed = 0 ] && echo "ALL PASSED" || echo "SOMETHING FAILED"
} 2>&1 | tee "$log"
[ "$(tail -n 1 "$log")" = "ALL PASSED" ]
