#!/usr/bin/env python3
"""From docs/benchmarks/cpu.csv: the plot docs/benchmarks/cpu.svg and the table between the markers
<!-- cpu-table --> and <!-- /cpu-table --> of README.md. The newest row of each (quant, engine, test)
counts. Usage: scripts/bench/cpu_report.py"""
import csv
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TESTS = [("pp512", "prompt of 512"), ("tg128", "one sequence"), ("tg64@16", "16 sequences")]
ENGINES = [("slipstream", "#2563eb"), ("llama.cpp", "#9ca3af")]


def read():
    rows = {}
    with open(ROOT / "docs/benchmarks/cpu.csv", newline="") as f:
        for r in csv.DictReader(f):
            rows[(r["quant"], r["engine"], r["test"])] = r  # later rows are newer
    return rows


def table(rows, quants):
    head = "| weights |" + "".join(f" {label}: Slipstream | llama.cpp |" for _, label in TESTS)
    lines = [head, "|---|" + "---|" * (2 * len(TESTS))]
    for q in quants:
        cells = []
        for test, _ in TESTS:
            ours, peer = (rows.get((q, e, test)) for e, _ in ENGINES)
            a = float(ours["tok_s"]) if ours else None
            b = float(peer["tok_s"]) if peer else None
            ratio = f" ({a / b:.2f}x)" if a and b else ""
            cells.append(f"**{a:.0f}**{ratio}" if a else "")
            cells.append(f"{b:.0f}" if b else "")
        lines.append(f"| {q} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def svg(rows, quants):
    width, panel, left, top = 1050, 320, 40, 46
    height = 300
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for e, (name, color) in enumerate(ENGINES):
        out.append(f'<rect x="{40 + 120 * e}" y="8" width="12" height="12" fill="{color}"/>'
                   f'<text x="{58 + 120 * e}" y="18">{name}</text>')
    for t, (test, label) in enumerate(TESTS):
        x0 = left + t * (panel + 20)
        values = {(q, e): float(rows[(q, e, test)]["tok_s"]) for q in quants for e, _ in ENGINES
                  if (q, e, test) in rows}
        most = max(values.values(), default=1)
        base = height - 40
        out.append(f'<text x="{x0}" y="{top}" font-weight="bold">{label}, tokens/s</text>')
        out.append(f'<line x1="{x0}" y1="{base}" x2="{x0 + panel}" y2="{base}" stroke="#374151"/>')
        step = panel / max(1, len(quants))
        for i, q in enumerate(quants):
            for e, (name, color) in enumerate(ENGINES):
                v = values.get((q, name))
                if v is None:
                    continue
                h = v / most * (base - top - 28)
                x = x0 + i * step + 4 + e * (step / 2 - 4)
                out.append(f'<rect x="{x:.1f}" y="{base - h:.1f}" width="{step / 2 - 6:.1f}" '
                           f'height="{h:.1f}" fill="{color}"/>')
                out.append(f'<text x="{x + step / 4 - 3:.1f}" y="{base - h - 3:.1f}" '
                           f'text-anchor="middle" font-size="9">{v:.0f}</text>')
            out.append(f'<text x="{x0 + i * step + step / 2:.1f}" y="{base + 16}" '
                       f'text-anchor="middle">{q}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main():
    rows = read()
    order = ["Q4_1", "Q4_0", "Q8_0", "BF16", "F32", "Q4_K_M", "Q6_K", "Q5_0", "Q5_1", "F16"]
    quants = [q for q in order if any(k[0] == q for k in rows)]
    (ROOT / "docs/benchmarks/cpu.svg").write_text(svg(rows, quants))
    readme = ROOT / "README.md"
    text = readme.read_text()
    block = f"<!-- cpu-table -->\n{table(rows, quants)}\n<!-- /cpu-table -->"
    readme.write_text(re.sub(r"<!-- cpu-table -->.*?<!-- /cpu-table -->", lambda _: block, text,
                             flags=re.S))
    print(table(rows, quants))


if __name__ == "__main__":
    main()
