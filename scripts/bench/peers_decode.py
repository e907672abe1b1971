#!/usr/bin/env python3
"""Decode attention of other libraries on one GPU, as rows of attention_decode.csv.

    peers_decode.py CSV [--link libchain_link.so] [--modules DIR] [--impl fa3,flashinfer,xqa]
    peers_decode.py --compile DIR      compiles FlashInfer's modules for sm_90a into DIR; needs no GPU

`fa3` is FlashAttention-3 as vLLM ships it, `flashinfer` FlashInfer's tensor-core decode, `xqa` the XQA
kernels that FlashInfer carries. Shapes, cold L2, timing and data are those of `attention_bench peers`,
ragged lengths included: bf16, head dim 128, pages of 16 tokens, KV of as many layers as L2 cannot hold,
each layer one call in one CUDA graph; plans and schedules are made once outside of it.

The shapes of `attention_bench chain` are also timed in its chain: the same tiny kernel (chain_link.cu)
before and after each call, less the chain without attention. `_chain`: all launched one after the other.
`_chain_pdl`: the tiny kernels are launched dependent and let the next kernel start early; FlashInfer and
XQA are told to make use of it, FA3 has no such switch. A result that differs from attention in float32
gives no row."""

import argparse
import csv
import ctypes
import datetime
import importlib
import os
import pathlib
import random
import shutil
import sys

import torch

from peers_timing import random_bits, relative_error, time_graph

COLUMNS = ("card,date,commit,heads,kv_heads,head_dim,kv_dtype,block,batch,context,impl,distance,us,"
           "gbs").split(",")
IMPLS = ("fa3", "flashinfer", "xqa")
PAGE, DIM = 16, 128
HEADS = ((32, 32), (32, 8), (28, 4), (64, 8), (8, 1))
BATCHES = ((1, 4096), (1, 32768), (8, 4096), (32, 2048), (64, 4096), (128, 1024))
RAGGED = (32, 8, 64, 0)  # context 0: lengths from 128 to 16384
CHAIN = {(32, 8, 1, 4096), (28, 4, 1, 4096), (8, 1, 1, 4096), (8, 1, 1, 32768), (8, 1, 8, 4096),
         (32, 8, 8, 4096), (32, 8, 32, 2048), (32, 8, 64, 4096)}
MAX_ERROR = 0.02  # relative RMS; bf16 gives about 0.002
REPEATS = 9
DEVICE = "cuda"


def shapes():
    """heads, KV heads, batch, context; PeerShapes() of attention_bench.cu."""
    for heads, kv_heads in HEADS:
        for batch, context in BATCHES:
            if kv_heads == 32 and batch * context > 64 * 2048:
                context = max(512, 64 * 2048 // batch)
            yield heads, kv_heads, batch, context
    yield RAGGED


def ragged_lengths(batch):
    """Those of attention_bench: std::mt19937 seeded with 7, two draws a double."""
    state = [7]
    for i in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & 0xFFFFFFFF)
    generator = random.Random()
    generator.setstate((3, tuple(state + [624]), None))
    lengths = []
    for _ in range(batch):
        low, high = generator.getrandbits(32), generator.getrandbits(32)
        lengths.append(int(128 * 128.0 ** ((low + high * 2.0 ** 32) / 2.0 ** 64)))
    return lengths


class Problem:
    """One query a sequence, and the paged caches of all layers behind one shuffled table."""

    def __init__(self, shape):
        self.heads, self.kv_heads, self.batch, context = shape
        self.lengths = [context] * self.batch if context else ragged_lengths(self.batch)
        self.kv_bytes = sum(self.lengths) * self.kv_heads * DIM * 4
        self.layers = max(2, min(32, -(-600_000_000 // self.kv_bytes)))
        self.pages = [-(-n // PAGE) for n in self.lengths]
        ids = torch.randperm(sum(self.pages), dtype=torch.int32)
        table = torch.zeros(self.batch, max(self.pages), dtype=torch.int32)
        for row, part in zip(table, ids.split(self.pages)):
            row[:len(part)] = part
        self.table, self.ids = table.to(DEVICE), ids.to(DEVICE)
        self.used = torch.tensor(self.lengths, dtype=torch.int32, device=DEVICE)
        self.caches = [random_bits((2, len(ids), PAGE, self.kv_heads, DIM), torch.bfloat16, DEVICE)
                       for _ in range(self.layers)]
        self.q = random_bits((self.batch, self.heads, DIM), torch.bfloat16, DEVICE)
        self.out = torch.empty_like(self.q)

    def error(self, layer):
        """The worst error of the first three sequences."""
        worst = 0.0
        for i in range(min(3, self.batch)):
            pages = self.table[i, :self.pages[i]].long()
            k, v = (x[pages].flatten(0, 1)[:self.lengths[i]].float() for x in self.caches[layer])
            q = self.q[i].float().view(self.kv_heads, -1, DIM)
            weights = torch.softmax(torch.einsum("kgd,lkd->kgl", q, k) / DIM ** 0.5, -1)
            expected = torch.einsum("kgl,lkd->kgd", weights, v).reshape(self.heads, DIM)
            worst = max(worst, relative_error(self.out[i], expected))
        return worst


# Each maker returns call(layer, pdl), pdl None being the library's own default.
def make_fa3(p):
    from vllm.vllm_flash_attn.flash_attn_interface import flash_attn_varlen_func, get_scheduler_metadata

    longest = max(p.lengths)
    steps = torch.arange(p.batch + 1, dtype=torch.int32, device=DEVICE)
    schedule = get_scheduler_metadata(
        batch_size=p.batch, max_seqlen_q=1, max_seqlen_k=longest, num_heads_q=p.heads,
        num_heads_kv=p.kv_heads, headdim=DIM, cache_seqlens=p.used, qkv_dtype=torch.bfloat16,
        cu_seqlens_q=steps, page_size=PAGE, causal=True, num_splits=0)
    return lambda layer, pdl: flash_attn_varlen_func(
        p.q, p.caches[layer][0], p.caches[layer][1], max_seqlen_q=1, cu_seqlens_q=steps,
        max_seqlen_k=longest, seqused_k=p.used, causal=True, block_table=p.table, out=p.out,
        scheduler_metadata=schedule, fa_version=3)


def make_flashinfer(p):
    import flashinfer

    workspace = torch.empty(256 << 20, dtype=torch.uint8, device=DEVICE)
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD", use_tensor_cores=True)
    starts = torch.tensor([0] + p.pages, dtype=torch.int32).cumsum(0).int().to(DEVICE)
    last = torch.tensor([(n - 1) % PAGE + 1 for n in p.lengths], dtype=torch.int32, device=DEVICE)
    wrapper.plan(starts, p.ids, last, p.heads, p.kv_heads, DIM, PAGE, q_data_type=torch.bfloat16,
                 kv_data_type=torch.bfloat16)
    return lambda layer, pdl: wrapper.run(p.q, (p.caches[layer][0], p.caches[layer][1]), out=p.out,
                                          enable_pdl=pdl)


def make_xqa(p):
    import flashinfer

    workspace = torch.zeros(256 << 20, dtype=torch.uint8, device=DEVICE)
    return lambda layer, pdl: flashinfer.decode.trtllm_batch_decode_with_kv_cache(
        p.q, (p.caches[layer][0], p.caches[layer][1]), workspace, p.table, p.used, max(p.lengths),
        bmm1_scale=DIM ** -0.5, bmm2_scale=1.0, out=p.out, kv_layout="NHD", enable_pdl=pdl,
        backend="xqa")


MAKERS = {"fa3": make_fa3, "flashinfer": make_flashinfer, "xqa": make_xqa}


class Link:
    """The tiny kernel around each call; without its library an operation of torch, not dependent."""

    def __init__(self, path):
        self.call = None
        if path:
            try:
                self.call = ctypes.CDLL(os.path.abspath(path)).slip_chain_link
                self.call.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
                self.call.restype = ctypes.c_int
            except OSError as e:
                print(f"{e}: the chain's tiny kernel is torch's, and not launched dependent", flush=True)
        self.modes = (False, True) if self.call else (False,)

    def __call__(self, q, dependent):
        if self.call is None:
            q.view(torch.int16).view(-1)[:8].bitwise_xor_(1)
            return
        error = self.call(q.data_ptr(), dependent, torch.cuda.current_stream().cuda_stream)
        if error:
            raise RuntimeError(f"slip_chain_link: CUDA error {error}")


def time_alone(p, call):
    def record():
        for layer in range(p.layers):
            call(layer, None)

    return time_graph(p.layers, record, REPEATS)[0]


def time_chain(p, call, link, dependent):
    """The chain's time a layer; call None is the chain without attention."""
    def record():
        for layer in range(p.layers):
            link(p.q, dependent)
            if call:
                call(layer, dependent)
            link(p.q, dependent)

    return time_graph(p.layers, record, REPEATS)[0]


def measure(p, call, chain, link, empty):
    """Pairs of a suffix of the implementation's name and us a call, one after the other."""
    yield from checked(p, 0, "", time_alone(p, call), call, None)
    if not chain:
        return
    for dependent in link.modes:
        if dependent not in empty:
            empty[dependent] = time_chain(p, None, link, dependent)
        us = time_chain(p, call, link, dependent) - empty[dependent]
        yield from checked(p, p.layers - 1, "_chain_pdl" if dependent else "_chain", us, call, dependent)


def checked(p, layer, suffix, us, call, pdl):
    """One more call, whose result must be right for the time to count."""
    p.out.zero_()
    call(layer, pdl)
    torch.cuda.synchronize()
    error = p.error(layer)
    if not error < MAX_ERROR:
        raise RuntimeError(f"{suffix or 'alone'}: relative error {error:.4f}")
    yield suffix, us


def version(impl):
    module = importlib.import_module("vllm" if impl == "fa3" else "flashinfer")
    return f"{module.__name__}-{module.__version__}"


def module_specs():
    """What FlashInfer compiles for the shapes above."""
    from flashinfer.jit.attention import gen_batch_prefill_module
    from flashinfer.jit.xqa import gen_xqa_module

    bf16 = torch.bfloat16
    groups = sorted({heads // kv_heads for heads, kv_heads in HEADS})
    return [gen_batch_prefill_module("fa2", bf16, bf16, bf16, torch.int32, DIM, DIM, 0, False, False, False)
            ] + [gen_xqa_module(bf16, bf16, PAGE, DIM, group, False, bf16) for group in groups]


def compile_modules(folder):
    os.environ.setdefault("FLASHINFER_CUDA_ARCH_LIST", "9.0a")
    from flashinfer.jit import build_jit_specs

    specs = module_specs()
    build_jit_specs(specs)
    for spec in specs:
        target = pathlib.Path(folder) / spec.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(spec.jit_library_path, target)


def use_modules(folder):
    """Makes FlashInfer load its modules from `folder`, if they all load."""
    import tvm_ffi
    from flashinfer.jit import env

    libraries = sorted(pathlib.Path(folder).glob("*/*.so"))
    try:
        for library in libraries:
            tvm_ffi.load_module(str(library))
    except Exception as e:
        print(f"{library}: {e!r:.300}; FlashInfer compiles its own", flush=True)
        return
    if libraries:
        env.FLASHINFER_AOT_DIR = pathlib.Path(folder).resolve()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("csv", nargs="?")
    parser.add_argument("--compile", metavar="DIR")
    parser.add_argument("--link")
    parser.add_argument("--modules")
    parser.add_argument("--impl", default=",".join(IMPLS))
    options = parser.parse_args()
    if options.compile:
        compile_modules(options.compile)
        return 0
    if options.modules:
        use_modules(options.modules)
    link = Link(options.link)
    card, today = torch.cuda.get_device_name(0), datetime.date.today()
    failures = {impl: 0 for impl in options.impl.split(",")}
    new = not os.path.exists(options.csv) or os.path.getsize(options.csv) == 0
    torch.manual_seed(0)
    with open(options.csv, "a", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for shape in shapes():
            heads, kv_heads, batch, _ = shape
            context = shape[3] or "128-16384"
            p, empty = Problem(shape), {}
            for impl in failures:
                if failures[impl] >= 2:  # a module that does not compile would be tried at every shape
                    continue
                try:
                    for suffix, us in measure(p, MAKERS[impl](p), shape in CHAIN, link, empty):
                        gbs = p.kv_bytes / us / 1e3
                        print(f"{heads:2d}/{kv_heads:<2d} {batch:3d} x {context!s:9s} {impl + suffix:20s} "
                              f"{us:8.2f} us {gbs:6.0f} GB/s", flush=True)
                        writer.writerow(dict(zip(COLUMNS, (
                            card, today, version(impl), heads, kv_heads, DIM, "BF16", PAGE, batch, context,
                            impl + suffix, "", f"{us:.2f}", f"{gbs:.0f}"))))
                        f.flush()
                except Exception as e:  # one implementation must not take the others with it
                    failures[impl] += 1
                    print(f"{heads}/{kv_heads} {batch} x {context} {impl} FAILED {e!r:.500}", flush=True)
            del p
            torch.cuda.empty_cache()
    return 1 if any(failures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
