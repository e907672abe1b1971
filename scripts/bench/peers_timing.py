"""What the benchmarks of other libraries' attention share: the timing and the random data of our own
benchmarks (kernels/bench/attention_harness.cuh), in torch."""

import torch


def time_graph(calls, record, repeats):
    """Captures `record`, which issues `calls` calls, and replays it: median and best us per call, after
    30 ms of replays that do not count. As TimeGraph of our harness does."""
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        record()  # compiles, loads and allocates outside the capture
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        record()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    warm_up_ms, us = 30.0, []
    with torch.cuda.stream(stream):
        while len(us) < repeats:
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            ms = begin.elapsed_time(end)
            if warm_up_ms > 0:
                warm_up_ms -= ms
            else:
                us.append(ms * 1e3 / calls)
    torch.cuda.synchronize()
    us.sort()
    return us[len(us) // 2], us[0]


def random_bits(shape, dtype, device):
    """Values of both signs between 1/4 and 1, the distribution of our benchmarks' data: what a tensor
    core is fed decides its power and so the clock."""
    bits = torch.randint(-32768, 32768, shape, dtype=torch.int16, device=device)
    keep, base = (0x80FF, 125 << 7) if dtype == torch.bfloat16 else (0x87FF, 13 << 10)
    bits.bitwise_and_(keep - 65536).add_(base)
    return bits.view(dtype)


def relative_error(out, reference):
    difference = (out.float() - reference).square().mean().sqrt()
    return (difference / reference.square().mean().sqrt()).item()
