#!/usr/bin/env python3
"""Plots of docs/benchmarks/attention_decode.csv as SVG, with the standard library alone.
Usage: attention_plot.py docs/benchmarks/attention_decode.csv docs/benchmarks
Writes attention_by_bytes.svg (KV GB/s by KV bytes, each implementation, the ceiling as a line) and
attention_distance.svg (time by L2 prefetch distance, relative to distance 0)."""
import csv
import math
import sys

CEILING = 3120.0  # read-only, GB/s, measured in the same run
COLORS = ["#c22", "#e80", "#07a", "#285", "#859", "#555", "#a52a2a"]


def kv_mb(r):
    elem = 1 if r["kv_dtype"] == "F8_E4M3" else 2
    if r["context"].isdigit():
        return int(r["batch"]) * int(r["context"]) * int(r["kv_heads"]) * int(r["head_dim"]) * elem * 2 / 1e6
    return float(r["us"]) * float(r["gbs"]) / 1e3


class Svg:
    def __init__(self, title, x_label, y_label, x_range, y_range, log_x):
        self.w, self.h, self.x, self.y, self.log = 760, 430, x_range, y_range, log_x
        self.out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.w}" height="{self.h}" '
                    'font-family="sans-serif" font-size="12">',
                    f'<rect width="{self.w}" height="{self.h}" fill="white"/>']
        self.text(self.w / 2, 18, title, "middle")
        self.text(self.w / 2 - 40, self.h - 8, x_label, "middle")
        self.out.append(f'<text x="14" y="{self.h / 2}" text-anchor="middle" '
                        f'transform="rotate(-90 14 {self.h / 2})">{y_label}</text>')
        self.entries = 0

    def text(self, x, y, s, anchor="start", color="#000"):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{s}</text>')

    def px(self, x):
        f = (math.log(x / self.x[0]) / math.log(self.x[1] / self.x[0]) if self.log
             else (x - self.x[0]) / (self.x[1] - self.x[0]))
        return 60 + f * (self.w - 220)

    def py(self, y):
        return self.h - 45 - (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.h - 80)

    def ticks(self, xs, ys):
        for x in xs:
            self.line([(x, self.y[0]), (x, self.y[1])], "#eee")
            self.text(self.px(x), self.h - 28, f"{x:g}", "middle")
        for y in ys:
            self.line([(self.x[0], y), (self.x[1], y)], "#eee")
            self.text(54, self.py(y) + 4, f"{y:g}", "end")

    def line(self, points, color, width=1):
        path = " ".join(f"{self.px(x):.1f},{self.py(y):.1f}" for x, y in points)
        self.out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>')

    def series(self, name, points, color, join=True):
        points = sorted(points)
        if join:
            self.line(points, color, 1.5)
        for x, y in points:
            self.out.append(f'<circle cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" r="3" fill="{color}"/>')
        self.text(self.w - 150, 50 + 18 * self.entries, name, color=color)
        self.entries += 1

    def save(self, path):
        with open(path, "w") as f:
            f.write("\n".join(self.out + ["</svg>\n"]))


def by_bytes(rows, out):
    plot = Svg("Decode attention, H100 80GB HBM3, bf16, head dim 128, block 16, cold L2",
               "KV bytes of one call, MB", "KV GB/s", (1.5, 3000), (0, 3300), True)
    plot.ticks([2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000], range(0, 3300, 500))
    plot.line([(1.5, CEILING), (3000, CEILING)], "#000")
    plot.text(plot.px(1.6), plot.py(CEILING) - 5, "HBM read ceiling")
    names = [("slipstream", "slipstream"), ("slipstream_pdl", "slipstream, dependent"), ("fa3", "fa3"),
             ("flashinfer", "flashinfer"), ("xqa", "xqa"), ("paged_v2", "paged_v2")]
    for (impl, label), color in zip(names, COLORS):
        best = {}
        for r in rows:
            if r["impl"] == impl and r["kv_dtype"] == "BF16" and r["distance"] in ("0", ""):
                best.setdefault(round(kv_mb(r), 1), []).append(float(r["gbs"]))
        if best:
            plot.series(label, [(x, sum(v) / len(v)) for x, v in best.items()], color)
    plot.save(f"{out}/attention_by_bytes.svg")


def by_distance(rows, out):
    plot = Svg("L2 prefetch behind the ring (2 stages): time relative to distance 0",
               "distance, tiles of 8 KB per warp", "time / time at distance 0", (0, 8), (0.9, 1.7), False)
    plot.ticks([0, 1, 2, 4, 8], [0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7])
    shapes = {}
    for r in rows:
        if r["impl"] == "slipstream_s2":
            name = f'{r["heads"]}/{r["kv_heads"]} {r["batch"]}x{r["context"]}'
            shapes.setdefault(name, {})[int(r["distance"])] = float(r["us"])
    wanted = ["32/8 1x4096", "8/1 1x32768", "32/8 8x4096", "32/8 32x2048", "32/8 64x4096", "32/8 64x128-16384"]
    for name, color in zip(wanted, COLORS):
        if name in shapes and 0 in shapes[name]:
            base = shapes[name][0]
            plot.series(name, [(d, us / base) for d, us in shapes[name].items()], color)
    plot.save(f"{out}/attention_distance.svg")


if __name__ == "__main__":
    with open(sys.argv[1]) as f:
        data = list(csv.DictReader(f))
    by_bytes(data, sys.argv[2])
    by_distance(data, sys.argv[2])
