#!/usr/bin/env python3
"""Tables in Markdown of our attention beside other libraries', from the CSV files of gpu_peers.sh.

    peers_report.py DIR     (holds attention_decode.csv and prefill_attention.csv)

Times in us (decode, chain) and TFLOP/s (prefill). `gain` is ours over the best of the others in its
row. Of several rows of one implementation and shape the last one counts."""

import csv
import math
import os
import sys

PEERS = ("fa3", "flashinfer", "xqa")


def table(path, keep, key, value):
    """{shape: {impl: value}} of the rows that `keep` accepts, in the order of the file."""
    found = {}
    if os.path.exists(path):
        with open(path, newline="") as f:
            for row in csv.DictReader(f):
                if keep(row):
                    found.setdefault(key(row), {})[row["impl"]] = float(row[value])
    return found


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


def show(title, rows, others, ours, faster):
    """One table; `faster` compares ours with the best other: above 1 ours is ahead."""
    rows = {k: v for k, v in rows.items() if any(o in v for o in ours)}
    if not rows:
        print(f"{title}: no rows\n")
        return
    gains = {o: [] for o in ours}
    print(f"{title}\n\n| {' | '.join(['shape', *others, *(x for o in ours for x in (o, 'gain'))])} |")
    print("|---" * (1 + len(others) + 2 * len(ours)) + "|")
    for shape, v in rows.items():
        cells = [shape] + [f"{v[o]:.1f}" if o in v else "-" for o in others]
        rivals = [v[o] for o in others if o in v]
        for o in ours:
            if o in v and rivals:
                gains[o].append(faster(v[o], rivals))
                cells += [f"{v[o]:.1f}", f"{gains[o][-1]:.2f}"]
            else:
                cells += [f"{v[o]:.1f}" if o in v else "-", "-"]
        print(f"| {' | '.join(cells)} |")
    for o, g in gains.items():
        if g:
            print(f"\n{o}: geometric mean {geometric_mean(g):.3f} over {len(g)} shapes, "
                  f"least {min(g):.3f}, ahead in {sum(x > 1 for x in g)}")
    print()


def main():
    folder = sys.argv[1]
    decode = table(os.path.join(folder, "attention_decode.csv"),
                   lambda r: r["kv_dtype"] == "BF16" and r["distance"] in ("", "0"),
                   lambda r: f"{r['heads']}/{r['kv_heads']} {r['batch']} x {r['context']}", "us")
    less = lambda ours, rivals: min(rivals) / ours  # noqa: E731
    show("Decode, us a call", decode, PEERS, ("slipstream", "slipstream_pdl"), less)
    show("In the chain, us added, one after the other", decode, [p + "_chain" for p in PEERS],
         ("slipstream_chain",), less)
    # With dependent launch each may take whichever of its two chains is quicker.
    show("In the chain, us added, dependent launch", decode,
         [p + suffix for p in PEERS for suffix in ("_chain", "_chain_pdl")], ("slipstream_chain_pdl",), less)
    prefill = table(os.path.join(folder, "prefill_attention.csv"), lambda r: True,
                    lambda r: r["case"], "tflops")
    show("Prefill, TFLOP/s", prefill, ("fa3", "fa3_contiguous"), ("slipstream",),
         lambda ours, rivals: ours / max(rivals))
    show("Prefill over a paged cache, TFLOP/s", prefill, ("fa3",), ("slipstream",),
         lambda ours, rivals: ours / max(rivals))


if __name__ == "__main__":
    main()
