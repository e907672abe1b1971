// The second kernel and the launchers. See sampling.h for the division of work.
#include "kernels/cuda/sampling/sampling.h"

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/sampling/report.cuh"
#include "kernels/cuda/sampling/scan.cuh"

namespace slipstream::kernels {
namespace sampling {
namespace {

constexpr int kMaxGridRows = 65535;
constexpr int kSmallScan = 1024;  // tiles of a launch below which each has a CTA of its own

// Marks the groups that the lists of `edits` name. Returns null where there are no lists.
__device__ const uint32_t* MarkListed(const Edits& edits, int tiles, int vocab_size,
                                      uint32_t* listed) {
  const int entries = edits.num_bias + edits.num_stops;
  if (entries == 0) return nullptr;
  if (threadIdx.x < tiles) listed[threadIdx.x] = 0;
  __syncthreads();
  for (int n = threadIdx.x; n < entries; n += kThreads) {
    const int token = n < edits.num_bias ? edits.bias[n].token : edits.stops[n - edits.num_bias];
    if (token < 0 || token >= vocab_size) continue;
    const int group = GroupOf(token);
    atomicOr(&listed[group / kGroup], 1u << group % kGroup);
  }
  __syncthreads();
  return listed;
}

// The token of an untargeted task, -1 if its row is not finite.
__device__ int Choose(const SampleTokensParams& p, int index, const SampleTask& task,
                      const SamplingSlot& slot, const Row& row, const Scratch& scratch,
                      BlockShared& sh, uint32_t* listed) {
  const int tiles = TilesOf(row.vocab_size), i = threadIdx.x;
  const Key mine = i < tiles ? KeyOf(scratch.tiles[i].max, scratch.tiles[i].argmax) : kNoKey;
  const Key best = BlockMin(sh, mine);
  const float max = ValueOf(best);
  if (!IsFinite(max)) return -1;
  const Mode mode(slot, row.vocab_size);
  if (mode.greedy) return TokenOfKey(best);
  const Edits edits(p, index, task.slot, slot);
  const Context cx{sh,      row,  edits,
                   scratch, slot, MarkListed(edits, tiles, row.vocab_size, listed),
                   tiles,   max,  1.0f / slot.temperature};
  // exp((x - max) / T) >= min_p, said in logits.
  float floor = -kInfinity;
  if (mode.use_floor) {
    const float log_min_p = static_cast<float>(log(static_cast<double>(slot.min_p)));
    floor = __fadd_rn(max, __fmul_rn(slot.temperature, log_min_p));
  }
  const float uniform = UniformAt(slot.seed, static_cast<uint64_t>(slot.num_output));
  return mode.largest ? DrawFromLargest(cx, mode, floor, uniform)
                      : DrawInOrder(cx, mode.use_floor, floor, uniform);
}

__device__ void Advance(const SamplingState& state, int slot, bool has_penalties, int token) {
  state.last_token[slot] = token;
  state.slots[slot].num_output++;
  if (!has_penalties) return;
  uint16_t& count = state.token_counts[int64_t{slot} * state.vocab_size + token];
  if ((count & 0x7FFF) < 0x7FFF) count++;
}

__global__ void __launch_bounds__(kThreads)
    ChooseKernel(const __grid_constant__ SampleTokensParams p) {
  __shared__ BlockShared sh;
  __shared__ uint32_t listed[kMaxTiles];
  LaunchDependents();
  DependencyWait();
  const int index = blockIdx.x, vocab_size = p.state.vocab_size;
  const SampleTask task = p.tasks[index];
  if (task.slot < 0 || task.slot >= p.state.num_slots) return;
  const Row row(p, task);
  const Scratch scratch = ScratchOf(p, index);
  SampledTokenRecord* out = p.out + index;
  SamplingSlot slot{};
  int token = task.target;
  if (task.target < 0) {
    slot = p.state.slots[task.slot];
    token = Choose(p, index, task, slot, row, scratch, sh, listed);
  }
  bool ok = token >= 0 && token < vocab_size;
  const bool reports = task.target >= 0 || task.num_top >= 0;
  if (threadIdx.x == 0 && !(ok && reports)) {
    out->logprob = 0;
    out->rank = 0;
  }
  if (ok && reports) {
    const Edits none(p, index, task.slot, SamplingSlot{});
    const Context cx{sh, row, none, scratch, slot, nullptr, TilesOf(vocab_size), 0, 1};
    ok = Report(cx, token, task.num_top, out);
  }
  __syncthreads();  // every thread has read what the slot held
  if (threadIdx.x != 0) return;
  if (reports && !ok) out->logprob = 0, out->rank = 0;
  out->token = ok ? token : -1;
  out->status = ok ? SampleStatus::kOk : SampleStatus::kNotFinite;
  if (ok && task.target < 0) Advance(p.state, task.slot, slot.has_penalties, token);
}

// One CTA per load.
__global__ void __launch_bounds__(kThreads)
    LoadKernel(const SamplingSlotLoad* loads, const int32_t* ids, const SamplingState state) {
  const SamplingSlotLoad& load = loads[blockIdx.x];
  const int slot = load.index, i = threadIdx.x;
  if (slot < 0 || slot >= state.num_slots) return;
  for (int n = i; n < min(load.slot.num_stops, kMaxMinTokenStops); n += kThreads) {
    state.stops[int64_t{slot} * kMaxMinTokenStops + n] = ids[load.stops_begin + n];
  }
  for (int n = i; n < min(load.slot.num_bias, kMaxLogitBias); n += kThreads) {
    const int32_t* pair = ids + load.bias_begin + 2 * n;
    state.bias[int64_t{slot} * kMaxLogitBias + n] = {pair[0], __int_as_float(pair[1])};
  }
  if (i == 0) {
    state.slots[slot] = load.slot;
    state.last_token[slot] = load.last_token;
  }
  if (!load.slot.has_penalties) return;
  uint16_t* counts = state.token_counts + int64_t{slot} * state.vocab_size;
  for (int t = i; t < state.vocab_size; t += kThreads) counts[t] = 0;
  __syncthreads();
  for (int n = i; n < load.prompt_count; n += kThreads) {
    const int32_t id = ids[load.prompt_begin + n];
    if (id >= 0 && id < state.vocab_size) counts[id] = 0x8000;
  }
  __syncthreads();
  for (int n = i; n < load.output_count; n += kThreads) {
    const int32_t id = ids[load.output_begin + n];
    if (id < 0 || id >= state.vocab_size) continue;
    // Ends: a failed exchange means that another thread's has succeeded.
    auto* count = reinterpret_cast<unsigned short*>(counts + id);
    unsigned short old = *count;
    while ((old & 0x7FFF) < 0x7FFF) {
      const unsigned short seen = atomicCAS(count, old, static_cast<unsigned short>(old + 1));
      if (seen == old) break;
      old = seen;
    }
  }
}

KernelStatus Check(const SamplingState& s) {
  const bool ok = s.slots && s.last_token && s.token_counts && s.bias && s.stops &&
                  s.num_slots >= 1 && s.vocab_size >= 1 && TilesOf(s.vocab_size) <= kMaxTiles;
  return ok ? KernelStatus::kOk : KernelStatus::kInvalidArgument;
}

}  // namespace
}  // namespace sampling

size_t SampleScratchBytes(int max_tasks, int vocab_size) {
  return static_cast<size_t>(max_tasks) * sampling::ScratchBytesOfTask(vocab_size);
}

KernelStatus LoadSamplingSlots(const SamplingSlotLoad* loads, const int32_t* ids, int num_loads,
                               const SamplingState& state, cudaStream_t stream) {
  if (num_loads < 0) return KernelStatus::kInvalidArgument;
  if (num_loads == 0) return KernelStatus::kOk;
  if (!loads || sampling::Check(state) != KernelStatus::kOk) return KernelStatus::kInvalidArgument;
  const LaunchShape shape{dim3(num_loads), sampling::kThreads, 0, false};
  return LaunchKernel(sampling::LoadKernel, shape, stream, loads, ids, state);
}

KernelStatus SampleTokens(const SampleTokensParams& p, bool dependent_launch, cudaStream_t stream) {
  using namespace sampling;
  if (p.num_tasks < 0 || p.num_tasks > kMaxGridRows) return KernelStatus::kInvalidArgument;
  if (p.num_tasks == 0) return KernelStatus::kOk;
  if (Check(p.state) != KernelStatus::kOk || !p.logits || !p.tasks || !p.out || !p.scratch ||
      reinterpret_cast<uintptr_t>(p.scratch) % 16 != 0 || (p.allowed && !p.allowed_rows)) {
    return KernelStatus::kInvalidArgument;
  }
  const int tiles = TilesOf(p.state.vocab_size);
  const int warps = tiles * p.num_tasks < kSmallScan ? 1 : kScanWarps;
  const dim3 grid((tiles + warps - 1) / warps, p.num_tasks);
  const KernelStatus scanned =
      LaunchKernel(ScanKernel, LaunchShape{grid, 32 * warps, 0, dependent_launch}, stream, p);
  if (scanned != KernelStatus::kOk) return scanned;
  return LaunchKernel(ChooseKernel, LaunchShape{dim3(p.num_tasks), kThreads, 0, dependent_launch},
                      stream, p);
}

}  // namespace slipstream::kernels
