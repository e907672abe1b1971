// The tiny dependent kernel of the chain benchmark, one object for attention_bench and for the
// shared library through which scripts/bench/peers_decode.py puts it around other libraries'
// attention. Host code; any thread; a launch that fails returns the CUDA error.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// Flips the lowest bit of the first 8 of `q`'s 16-bit words once the kernel before it has ended.
// `dependent`: launched with programmatic dependent launch; it always lets the next kernel start.
extern "C" int slip_chain_link(uint16_t* q, int dependent, cudaStream_t stream);
