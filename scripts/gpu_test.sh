#!/bin/bash
# Device tests and compute-sanitizer on one sm_90 GPU. Usage: gpu_test.sh BIN_DIR [LOG]
# BIN_DIR holds cuda_*_test (tests/{kernels/cuda,model,runtime} of a CUDA build); run it from the
# repository's root, where the golden tests find their fixtures and the greedy test its model. The
# sanitizers run subsets that touch every code path with small inputs: they slow the device down a
# hundredfold.
set -u
bin=$1
log=${2:-gpu_test.log}
export SLIPSTREAM_SOURCE_DIR=${SLIPSTREAM_SOURCE_DIR:-$PWD}
declare -A small=(
  [decode_prefetch]='DecodePrefetch.BlockAndTileEdges:DecodePrefetch.*Empty*:DecodePrefetch.WindowSoftcapSinks:DecodePrefetch.AnyGrid*:DecodePrefetch.Adjacent*:DecodePrefetch.Dependent*:DecodePrefetch.WideGroups*:DecodePrefetch.OneGraph*:PaperBaseline.*'
  [prefill]='Prefill.OneTile*:Prefill.TwoKv*:Prefill.LeavesDecode*'
  [kv_cache]='*'
  [ops]='*'
  [gemm]='GemmStream.OneStage:GemmStream.OneTile*'
  [sampling]='*Tiny*:*NotFinite*:*Ties*'
  [golden]='*PrefillChunks*/BF16_llama3:*PrefillChunks*/F16_gemma2'
)
failed=0
check() { "$@" || { failed=1; echo "FAILED: $*"; }; }
{
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
  for name in decode_prefetch prefill kv_cache ops gemm gemm_epilogue gemm_layer cublaslt sampling golden greedy; do
    [ -x "$bin/cuda_${name}_test" ] || { echo "no cuda_${name}_test in $bin"; failed=1; continue; }
    check timeout 180 "$bin/cuda_${name}_test" --gtest_print_time=1
  done
  for tool in memcheck racecheck initcheck; do
    echo "== compute-sanitizer $tool"
    for name in decode_prefetch prefill kv_cache ops gemm sampling golden; do
      check timeout 150 compute-sanitizer --tool $tool --error-exitcode 1 \
        "$bin/cuda_${name}_test" --gtest_brief=1 --gtest_filter="${small[$name]}"
    done
  done
  [ $failed = 0 ] && echo "ALL PASSED" || echo "SOMETHING FAILED"
} 2>&1 | tee "$log"
[ "$(tail -n 1 "$log")" = "ALL PASSED" ]
