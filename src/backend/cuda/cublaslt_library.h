// The functions of libcublasLt that we call, found at run time. Loaded once per process and kept.
// Any thread. Fails with kUnavailable and says where it looked.
#pragma once

#include <cublasLt.h>

#include "base/result.h"

namespace slipstream {

#define SLIP_CUBLASLT_FUNCTIONS(F)        \
  F(cublasLtCreate)                       \
  F(cublasLtDestroy)                      \
  F(cublasLtMatmul)                       \
  F(cublasLtMatmulAlgoGetHeuristic)       \
  F(cublasLtMatmulDescCreate)             \
  F(cublasLtMatmulDescDestroy)            \
  F(cublasLtMatmulDescSetAttribute)       \
  F(cublasLtMatmulPreferenceCreate)       \
  F(cublasLtMatmulPreferenceDestroy)      \
  F(cublasLtMatmulPreferenceSetAttribute) \
  F(cublasLtMatrixLayoutCreate)           \
  F(cublasLtMatrixLayoutDestroy)

struct CublasLtLibrary {
#define SLIP_MEMBER(name) decltype(&::name) name = nullptr;
  SLIP_CUBLASLT_FUNCTIONS(SLIP_MEMBER)
#undef SLIP_MEMBER
};

Result<const CublasLtLibrary*> LoadCublasLt();

}  // namespace slipstream
