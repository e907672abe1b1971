#include "backend/cuda/step_graphs.h"

#include "backend/cuda/cuda_memory.h"

namespace slipstream {

void StepGraphs::Clear() {
  for (const auto& [rows, graph] : graphs_) cudaGraphExecDestroy(graph);
  graphs_.clear();
}

Result<cudaGraphExec_t> StepGraphs::Capture(const std::function<Status()>& ops,
                                            cudaStream_t stream) {
  SLIP_RETURN_IF_ERROR(CudaOk(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                              "recording a decode step"));
  const Status issued = ops();
  cudaGraph_t graph = nullptr;
  const Status ended = CudaOk(cudaStreamEndCapture(stream, &graph), "recording a decode step");
  if (!issued || !ended) {
    if (graph != nullptr) cudaGraphDestroy(graph);
    return tl::unexpected(issued ? ended.error() : issued.error());
  }
  cudaGraphExec_t exec = nullptr;
  const Status made = CudaOk(cudaGraphInstantiate(&exec, graph, 0), "preparing a recorded step");
  cudaGraphDestroy(graph);
  SLIP_RETURN_IF_ERROR(made);
  return exec;
}

Status StepGraphs::Run(int64_t rows, const std::function<Status()>& ops, cudaStream_t stream) {
  const auto it = graphs_.find(rows);
  if (it == graphs_.end()) {
    // CUDA loads a kernel when it is first launched, which may wait for the device: not while
    // recording. All kernels loaded at once would cost seconds and gigabytes, most of them of
    // libraries and for other shapes.
    SLIP_RETURN_IF_ERROR(ops());
    SLIP_ASSIGN_OR_RETURN(const cudaGraphExec_t exec, Capture(ops, stream));
    graphs_.emplace(rows, exec);
    return {};
  }
  return CudaOk(cudaGraphLaunch(it->second, stream), "launching a recorded step");
}

}  // namespace slipstream
