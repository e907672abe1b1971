// What CudaBackend does at start: the device, memory, weights, and room for steps.
#include <algorithm>
#include <string>
#include <utility>

#include "backend/cuda/cuda_backend.h"
#include "base/host_memory.h"
#include "base/log.h"

namespace slipstream {
namespace {

constexpr size_t kCublasWorkspaceBytes = size_t{64} << 20;  // what cuBLAS asks for on Hopper
// Left to graphs, the CUDA context and what else may need memory later.
constexpr size_t kReservedBytes = size_t{1} << 30;

}  // namespace

Result<std::unique_ptr<CudaBackend>> CudaBackend::Make(const CudaOptions& options) {
  std::unique_ptr<CudaBackend> out(new CudaBackend(options));
  SLIP_RETURN_IF_ERROR(out->Start());
  return out;
}

Result<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options) {
  return CudaBackend::Make(options);
}

CudaBackend::~CudaBackend() {
  if (stream_ == nullptr) return;
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

Status CudaBackend::Start() {
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found != cudaSuccess || count == 0) {
    return Fail(ErrorCode::kFailedPrecondition,
                std::string("no CUDA device here") +
                    (found == cudaSuccess ? "" : std::string(": ") + cudaGetErrorString(found)),
                "device");
  }
  if (options_.device < 0 || options_.device >= count) {
    return InvalidArgument("cuda_device " + std::to_string(options_.device) + " of " +
                               std::to_string(count) + " devices",
                           "cuda_device");
  }
  int major = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, options_.device);
  if (major != 9) {
    return Fail(ErrorCode::kUnimplemented,
                "CUDA device " + std::to_string(options_.device) +
                    " is not a Hopper GPU (compute capability 9.0); its capability is " +
                    std::to_string(major) + ".x",
                "cuda_device");
  }
  SLIP_RETURN_IF_ERROR(CudaOk(cudaSetDevice(options_.device), "choosing the GPU"));
  cudaDeviceGetAttribute(&num_sms_, cudaDevAttrMultiProcessorCount, options_.device);
  SLIP_RETURN_IF_ERROR(
      CudaOk(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate"));
  LogHostMemory("creating the CUDA context");
  uploader_ = WeightUploader(options_.activation_dtype);
  SLIP_ASSIGN_OR_RETURN(cublas_workspace_, DeviceBuffer::Make(kCublasWorkspaceBytes));
  auto cublas = CublasLt::Make(cublas_workspace_->data(), kCublasWorkspaceBytes);
  if (cublas) {
    cublas_ = std::move(*cublas);
  } else {
    LogWarning("{}; long prompts run on the slower streaming product", cublas.error().message);
  }
  return {};
}

size_t CudaBackend::free_memory_bytes() const {
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return 0;
  return free > kReservedBytes ? free - kReservedBytes : 0;
}

Result<std::unique_ptr<Buffer>> CudaBackend::Allocate(size_t bytes) {
  return DeviceBuffer::Make(bytes);
}

Status CudaBackend::Upload(void* dst, const void* src, size_t bytes) {
  SLIP_RETURN_IF_ERROR(CudaOk(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, stream_),
                              "copying to the GPU"));
  return TakeError(CudaOk(cudaStreamSynchronize(stream_), "copying to the GPU"));
}

Status CudaBackend::Download(void* dst, const void* src, size_t bytes) {
  SLIP_RETURN_IF_ERROR(step_error_);
  SLIP_RETURN_IF_ERROR(CudaOk(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, stream_),
                              "copying from the GPU"));
  return TakeError(CudaOk(cudaStreamSynchronize(stream_), "copying from the GPU"));
}

Status CudaBackend::CheckShape(const StepLimits& limits, const ModelShape& shape) const {
  const int dim = shape.head_dim;
  if (dim != 64 && dim != 96 && dim != 128 && dim != 256) {
    return Fail(ErrorCode::kUnimplemented,
                "the GPU's attention has heads of 64, 96, 128 and 256, not " + std::to_string(dim));
  }
  if (shape.num_heads / shape.num_kv_heads > 16) {
    return Fail(ErrorCode::kUnimplemented,
                "the GPU's attention has up to 16 query heads per KV head");
  }
  const int block = limits.block_size;
  if (block != 16 && block != 32 && block != 64 && block != 128) {
    return InvalidArgument(
        "block_size_tokens must be 16, 32, 64 or 128 on a GPU, not " + std::to_string(block),
        "block_size_tokens");
  }
  return {};
}

Status CudaBackend::ReserveStep(const StepLimits& limits, const ModelShape& shape) {
  SLIP_RETURN_IF_ERROR(CheckShape(limits, shape));
  uploader_ = WeightUploader(options_.activation_dtype);  // gives its pinned memory back
  limits_ = limits;
  if (limits_.max_seqs <= 0) limits_.max_seqs = limits.max_tokens;
  SLIP_ASSIGN_OR_RETURN(inputs_, StepInputs::Make(limits_, shape, num_sms_));
  size_t scratch_bytes = 0;
  for (const AttentionParams& kind : shape.kinds) {
    scratch_bytes = std::max(
        scratch_bytes, kernels::DecodeScratchBytes(inputs_->plan(kind.sliding_window).decode));
  }
  // Both keep their flags at 0xFF between launches.
  SLIP_ASSIGN_OR_RETURN(attention_scratch_, DeviceBuffer::Make(scratch_bytes, 0xFF));
  SLIP_ASSIGN_OR_RETURN(
      gemm_workspace_,
      DeviceBuffer::Make(kernels::GemmStreamWorkspaceBytes(limits_.max_tokens, num_sms_), 0xFF));
  int64_t sums = 1;
  for (const CudaLinear* linear : linears_) {
    sums = std::max(
        sums, kernels::GemmStreamPartials(linear->stream.n) * kernels::kGemmEpilogueMaxTokens);
  }
  SLIP_ASSIGN_OR_RETURN(square_sums_,
                        DeviceBuffer::Make(static_cast<size_t>(sums) * sizeof(float)));
  SLIP_RETURN_IF_ERROR(TuneProducts(shape));
  return CudaOk(cudaDeviceSynchronize(), "the GPU");
}

void CudaBackend::TuneShape(const CudaLinear& linear, MatMulArgs args, int64_t max_tokens) {
  constexpr int64_t kSizes[] = {96,  128, 160, 192, 224,  256,  384,
                                512, 640, 768, 896, 1024, 1536, 2048};
  // Layers in turn: in a step no matrix is found in L2.
  std::vector<const void*> weights;
  for (const CudaLinear* other : linears_) {
    if (other->stream.n == linear.stream.n && other->stream.k == linear.stream.k) {
      weights.push_back(other->memory->data());
    }
  }
  args.w = weights[0];
  args.bias = linear.bias ? linear.bias->as<float>() : nullptr;
  args.n = linear.stream.n;
  args.k = linear.stream.k;
  args.dtype = options_.activation_dtype;
  std::vector<int64_t> sizes(std::begin(kSizes), std::end(kSizes));
  std::erase_if(sizes, [&](int64_t m) { return m >= max_tokens; });
  if (!Streams(max_tokens)) sizes.push_back(max_tokens);
  for (const int64_t m : sizes) {
    args.m = m;
    const Status tuned = cublas_->Tune(args, weights, stream_);
    if (!tuned) LogWarning("{}", tuned.error().message);
  }
}

// Lets the library's candidates race for the numbers of tokens that steps have, so that no request
// waits for its first choice and that choice is a good one.
Status CudaBackend::TuneProducts(const ModelShape& shape) {
  if (cublas_ == nullptr || linears_.empty()) return {};
  const size_t tokens = static_cast<size_t>(limits_.max_tokens);
  size_t x_bytes = 0, y_bytes = 0;
  std::vector<const CudaLinear*> shapes;
  for (const CudaLinear* linear : linears_) {
    const size_t n = static_cast<size_t>(linear->stream.n),
                 k = static_cast<size_t>(linear->stream.k);
    const bool is_head = linear->stream.n == shape.vocab_size;
    x_bytes = std::max(x_bytes, 2 * tokens * k);
    const bool in_f32 = is_head || linear->stream.n == shape.hidden_size;
    y_bytes =
        std::max(y_bytes, (in_f32 ? 4 : 2) * n *
                              (is_head ? static_cast<size_t>(limits_.max_logit_rows) : tokens));
    const bool known = std::any_of(shapes.begin(), shapes.end(), [&](const CudaLinear* other) {
      return other->stream.n == linear->stream.n && other->stream.k == linear->stream.k;
    });
    if (!known) shapes.push_back(linear);
  }
  SLIP_ASSIGN_OR_RETURN(const auto x, DeviceBuffer::Make(x_bytes));
  SLIP_ASSIGN_OR_RETURN(const auto y, DeviceBuffer::Make(y_bytes));
  // Zeros would cost less power than tokens do, and the card would run faster than it will.
  for (size_t at = 0; at < x_bytes;) {
    const size_t bytes = std::min(x_bytes - at, shapes.back()->memory->bytes());
    SLIP_RETURN_IF_ERROR(
        CudaOk(cudaMemcpyAsync(x->as<std::byte>() + at, shapes.back()->memory->data(), bytes,
                               cudaMemcpyDeviceToDevice, stream_),
               "tokens to tune with"));
    at += bytes;
  }
  MatMulArgs args{.x = x->data(), .y = y->data()};
  for (const CudaLinear* linear : shapes) {
    const bool is_head = linear->stream.n == shape.vocab_size;
    args.y_dtype = is_head ? DType::kF32 : options_.activation_dtype;
    args.accumulate = false;
    TuneShape(*linear, args, is_head ? limits_.max_logit_rows : limits_.max_tokens);
    if (linear->stream.n != shape.hidden_size || !AddsInLibrary()) continue;
    args.y_dtype = DType::kF32;
    args.accumulate = true;
    TuneShape(*linear, args, limits_.max_tokens);
  }
  return {};
}

Result<DeviceSampler*> CudaBackend::MakeDeviceSampler(int num_slots, int64_t vocab_size) {
  SLIP_ASSIGN_OR_RETURN(sampler_,
                        CudaSampler::Make({.num_slots = num_slots,
                                           .vocab_size = vocab_size,
                                           .max_positions = limits_.max_positions,
                                           .max_tasks_per_step = limits_.max_tokens + num_slots,
                                           .max_tasks_per_sample = limits_.max_logit_rows},
                                          stream_, options_.dependent_launch));
  return sampler_.get();
}

Result<std::unique_ptr<CudaLinear>> CudaBackend::WrapMatrix(std::shared_ptr<DeviceBuffer> memory,
                                                            int64_t rows, int64_t cols) const {
  auto out = std::make_unique<CudaLinear>();
  out->memory = std::move(memory);
  const auto status = kernels::MakeGemmStreamWeights(out->memory->data(), options_.activation_dtype,
                                                     rows, cols, cols, &out->stream);
  if (status != kernels::KernelStatus::kOk) {
    return Fail(ErrorCode::kUnimplemented, "no GPU matrix product for " + std::to_string(rows) +
                                               " x " + std::to_string(cols) +
                                               " (columns must be a multiple of 8)");
  }
  return out;
}

Result<std::unique_ptr<Linear>> CudaBackend::MakeLinear(std::span<const WeightView> parts,
                                                        std::span<const float> bias) {
  int64_t rows = 0;
  const int64_t cols = parts[0].cols;
  for (const WeightView& part : parts) rows += part.rows;
  const size_t row_bytes = BytesOf(options_.activation_dtype, static_cast<size_t>(cols));
  SLIP_ASSIGN_OR_RETURN(std::shared_ptr<DeviceBuffer> memory,
                        DeviceBuffer::Make(static_cast<size_t>(rows) * row_bytes));
  int64_t first = 0;
  for (const WeightView& part : parts) {
    SLIP_RETURN_IF_ERROR(
        uploader_.Upload(part, memory->as<std::byte>(static_cast<size_t>(first) * row_bytes)));
    first += part.rows;
  }
  SLIP_ASSIGN_OR_RETURN(std::unique_ptr<CudaLinear> out, WrapMatrix(std::move(memory), rows, cols));
  return Register(std::move(out), bias);
}

Result<std::unique_ptr<Linear>> CudaBackend::MakeGatedLinear(const WeightView& gate,
                                                             const WeightView& up,
                                                             std::span<const float> bias) {
  constexpr int64_t kRun = kernels::kGemmGateRun;
  if (gate.rows != up.rows || gate.rows % kRun != 0) {
    return Backend::MakeGatedLinear(gate, up, bias);
  }
  const size_t row_bytes = BytesOf(options_.activation_dtype, static_cast<size_t>(gate.cols));
  SLIP_ASSIGN_OR_RETURN(std::shared_ptr<DeviceBuffer> memory,
                        DeviceBuffer::Make(static_cast<size_t>(2 * gate.rows) * row_bytes));
  SLIP_RETURN_IF_ERROR(uploader_.Upload(gate, memory->data(), kRun));
  SLIP_RETURN_IF_ERROR(uploader_.Upload(up, memory->as<std::byte>(kRun * row_bytes), kRun));
  SLIP_ASSIGN_OR_RETURN(std::unique_ptr<CudaLinear> out,
                        WrapMatrix(std::move(memory), 2 * gate.rows, gate.cols));
  out->interleaved = true;
  std::vector<float> placed(bias.size());
  for (size_t i = 0; i < bias.size() / 2; ++i) {
    const auto row = static_cast<size_t>(kernels::GemmGateRow(static_cast<int64_t>(i)));
    placed[row] = bias[i];
    placed[row + kRun] = bias[bias.size() / 2 + i];
  }
  return Register(std::move(out), placed);
}

// Known to tuning; with its bias.
Result<std::unique_ptr<CudaLinear>> CudaBackend::Register(std::unique_ptr<CudaLinear> linear,
                                                          std::span<const float> bias) {
  if (!bias.empty()) {
    SLIP_ASSIGN_OR_RETURN(linear->bias, DeviceBuffer::Make(bias.size_bytes()));
    SLIP_RETURN_IF_ERROR(Upload(linear->bias->data(), bias.data(), bias.size_bytes()));
  }
  linears_.push_back(linear.get());
  return linear;
}

Result<std::unique_ptr<EmbeddingTable>> CudaBackend::MakeEmbedding(const WeightView& table) {
  auto out = std::make_unique<CudaEmbedding>();
  out->vocab_size = table.rows;
  out->hidden = table.cols;
  SLIP_ASSIGN_OR_RETURN(out->memory,
                        DeviceBuffer::Make(BytesOf(options_.activation_dtype,
                                                   static_cast<size_t>(table.rows * table.cols))));
  SLIP_RETURN_IF_ERROR(uploader_.Upload(table, out->memory->data()));
  return out;
}

Result<std::unique_ptr<Linear>> CudaBackend::MakeTiedLinear(EmbeddingTable& table) {
  auto& embedding = static_cast<CudaEmbedding&>(table);
  SLIP_ASSIGN_OR_RETURN(auto out,
                        WrapMatrix(embedding.memory, embedding.vocab_size, embedding.hidden));
  return Register(std::move(out), {});
}

}  // namespace slipstream
