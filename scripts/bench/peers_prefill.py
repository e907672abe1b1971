#!/usr/bin/env python3
"""Prefill attention of FlashAttention-3 on one GPU, as rows of prefill_attention.csv.

    peers_prefill.py CSV    (append; the cases are those of the rows of slipstream in CSV, or else in
                             docs/benchmarks/prefill_attention.csv)

FA3 is the one that vLLM ships, called as vLLM calls it. `fa3` reads a paged cache of vLLM's layout with
pages of 16 tokens and a schedule made once outside the timing, as vLLM makes it once a step for all
layers; `fa3_contiguous` reads keys and values that lie in order, as an engine without a paged cache has
them, and schedules in each call.
Both are timed like prefill_bench: a CUDA graph of two calls, warm, 30 ms of replays that do not count,
median and best of 7. FLOPs are those of the visible (query, key) pairs, 4 * head_dim * heads each. A
result that differs from the same attention in float32 gives no row."""

import csv
import datetime
import os
import sys

import torch

from peers_timing import random_bits, relative_error, time_graph

BLOCK = 16
COLUMNS = ("card,date,commit,case,dtype,batch,query_len,prefix,head_dim,heads,kv_heads,window,softcap,us,"
           "best_us,tflops,impl").split(",")
INTEGERS = ("batch", "query_len", "prefix", "head_dim", "heads", "kv_heads", "window")
MAX_ERROR = 0.02  # relative RMS; bf16 gives about 0.004, a window off by one 0.03
DEVICE = "cuda"


def read_cases(path):
    """One dict for each case that our own benchmark has measured, in its order."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    for name in (path, os.path.join(root, "docs", "benchmarks", "prefill_attention.csv")):
        cases = {}
        if os.path.exists(name):
            with open(name, newline="") as f:
                for row in csv.DictReader(f):
                    if row["impl"] == "slipstream":
                        case = {key: row[key] for key in ("case", "dtype")}
                        case.update({key: int(row[key]) for key in INTEGERS})
                        case["softcap"] = float(row["softcap"])
                        cases[row["case"]] = case
        if cases:
            return list(cases.values())
    sys.exit("no rows of slipstream to take the cases from")


def visible_pairs(case):
    pairs = 0
    for i in range(case["query_len"]):
        keys = case["prefix"] + i + 1
        pairs += min(keys, case["window"]) if case["window"] else keys
    return pairs * case["batch"]


class Problem:
    """One layer: queries, a shuffled paged cache, and the same keys and values in order."""

    def __init__(self, case):
        self.case = case
        self.dtype = torch.float16 if case["dtype"] == "F16" else torch.bfloat16
        batch, dim, kv_heads = case["batch"], case["head_dim"], case["kv_heads"]
        self.kv_len = case["prefix"] + case["query_len"]
        blocks = (self.kv_len + BLOCK - 1) // BLOCK
        self.table = torch.randperm(blocks * batch, device=DEVICE).int().view(batch, blocks)
        cache = random_bits((blocks * batch, 2, BLOCK, kv_heads, dim), self.dtype, DEVICE)
        self.k_paged, self.v_paged = cache.unbind(1)
        self.k, self.v = (x[self.table.long()].reshape(batch, blocks * BLOCK, kv_heads, dim)
                          [:, :self.kv_len].reshape(batch * self.kv_len, kv_heads, dim)
                          for x in (self.k_paged, self.v_paged))
        self.q = random_bits((batch * case["query_len"], case["heads"], dim), self.dtype, DEVICE)
        self.out = torch.empty_like(self.q)
        steps = torch.arange(batch + 1, dtype=torch.int32, device=DEVICE)
        self.cu_q, self.cu_k = steps * case["query_len"], steps * self.kv_len
        self.used_k = torch.full((batch,), self.kv_len, dtype=torch.int32, device=DEVICE)
        # vLLM's window counts the keys before the query's own.
        self.window = (case["window"] - 1, 0) if case["window"] else (-1, -1)

    def reference(self, sequence, rows):
        """Float32 attention of the query rows `rows` (a range) of one sequence."""
        case, dim = self.case, self.case["head_dim"]
        q = self.q.view(case["batch"], case["query_len"], case["kv_heads"], -1, dim)
        k, v = (x.view(case["batch"], self.kv_len, case["kv_heads"], dim)[sequence].float()
                for x in (self.k, self.v))
        scores = torch.einsum("rkgd,lkd->kgrl", q[sequence, rows.start:rows.stop].float(), k) / dim ** 0.5
        if case["softcap"]:
            scores = case["softcap"] * torch.tanh(scores / case["softcap"])
        position = torch.arange(rows.start, rows.stop, device=DEVICE)[:, None] + case["prefix"]
        key = torch.arange(self.kv_len, device=DEVICE)[None, :]
        hidden = key > position
        if case["window"]:
            hidden = hidden | (key <= position - case["window"])
        weights = torch.softmax(scores.masked_fill(hidden, float("-inf")), -1)
        return torch.einsum("kgrl,lkd->rkgd", weights, v).reshape(len(rows), case["heads"], dim)

    def error(self):
        """The worst of three stretches of rows: first, middle, last."""
        case, n = self.case, self.case["query_len"]
        out = self.out.view(case["batch"], n, case["heads"], case["head_dim"])
        worst = 0.0
        for sequence, first in ((0, 0), (case["batch"] // 2, n // 2 - 8), (case["batch"] - 1, n - 16)):
            rows = range(first, first + 16)
            worst = max(worst, relative_error(out[sequence, first:first + 16],
                                              self.reference(sequence, rows)))
        return worst


def calls_of(problem):
    """The name of each way to call FA3, and the call."""
    from vllm.vllm_flash_attn.flash_attn_interface import flash_attn_varlen_func, get_scheduler_metadata

    p, case = problem, problem.case
    common = dict(max_seqlen_q=case["query_len"], cu_seqlens_q=p.cu_q, max_seqlen_k=p.kv_len,
                  softmax_scale=case["head_dim"] ** -0.5, causal=True, window_size=list(p.window),
                  softcap=case["softcap"], out=p.out, fa_version=3)
    schedule = get_scheduler_metadata(
        batch_size=case["batch"], max_seqlen_q=case["query_len"], max_seqlen_k=p.kv_len,
        num_heads_q=case["heads"], num_heads_kv=case["kv_heads"], headdim=case["head_dim"],
        cache_seqlens=p.used_k, qkv_dtype=p.dtype, cu_seqlens_q=p.cu_q, page_size=BLOCK, causal=True,
        window_size=p.window, num_splits=0)
    return {
        "fa3": lambda: flash_attn_varlen_func(p.q, p.k_paged, p.v_paged, seqused_k=p.used_k,
                                              block_table=p.table, scheduler_metadata=schedule, **common),
        "fa3_contiguous": lambda: flash_attn_varlen_func(p.q, p.k, p.v, cu_seqlens_k=p.cu_k, **common),
    }


def measure(problem, call):
    """Median and best us, and the error of one more call after all those."""
    def twice():
        call()
        call()

    median, best = time_graph(2, twice, 7)
    problem.out.zero_()
    call()
    return median, best, problem.error()


def main():
    import vllm

    path = sys.argv[1]
    cases = read_cases(path)
    new = not os.path.exists(path) or os.path.getsize(path) == 0
    card, failed = torch.cuda.get_device_name(0), 0
    torch.manual_seed(0)
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for case in cases:
            flops = visible_pairs(case) * 4.0 * case["head_dim"] * case["heads"]
            for impl in ("fa3", "fa3_contiguous"):
                try:
                    problem = Problem(case)
                    median, best, error = measure(problem, calls_of(problem)[impl])
                except Exception as e:  # one case must not take the others with it
                    print(f"{case['case']:22s} {impl:14s} FAILED {e!r:.300}", flush=True)
                    failed += 1
                    continue
                wrong = not error < MAX_ERROR
                failed += wrong
                print(f"{case['case']:22s} {impl:14s} {median:10.1f} us  {flops / median * 1e-6:6.1f} TFLOP/s"
                      f"  (best {flops / best * 1e-6:6.1f})  error {error:.4f}{' WRONG' * wrong}", flush=True)
                if wrong:
                    continue
                writer.writerow(dict(case, card=card, date=datetime.date.today(),
                                     commit=f"vllm-{vllm.__version__}", softcap=f"{case['softcap']:g}",
                                     us=f"{median:.2f}", best_us=f"{best:.2f}",
                                     tflops=f"{flops / median * 1e-6:.1f}", impl=impl))
                f.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
