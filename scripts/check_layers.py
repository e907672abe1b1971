#!/usr/bin/env python3
"""Checks every #include against the layer table of docs/architecture.md, section 1, and that no file
of the project is included by a relative path. Prints each violation; exit code 1 if there is one."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNEL_API = {"kernels/api"}
# folder -> folders it may include (itself always; base for every folder of src)
ALLOWED = {
    "kernels/api": set(),
    "kernels/reference": KERNEL_API,
    "kernels/cpu": KERNEL_API,
    "kernels/cuda": KERNEL_API,
    "kernels/bench": KERNEL_API | {"kernels/reference", "kernels/cpu", "kernels/cuda"},
    "base": set(),
    "config": set(),
    "tensor": KERNEL_API,
    "backend": {"tensor", "kernels/api", "kernels/cpu", "kernels/cuda"},
    "comm": {"backend", "tensor", "runtime"} | KERNEL_API,
    "loader": {"tensor", "config"} | KERNEL_API,
    "tokenizer": {"loader", "config"},
    "grammar": {"tokenizer"},
    "model": {"comm", "backend", "loader", "tensor", "config"} | KERNEL_API,
}
ALLOWED["runtime"] = ALLOWED["model"] | {"model"}
ALLOWED["engine"] = {"runtime", "config"}
ALLOWED["server"] = {"engine", "grammar", "tokenizer", "config", "runtime"}
ALLOWED["tools"] = set(ALLOWED) | {"engine", "server", "runtime", "model"}
ONLY_IN = {  # headers that belong to one place
    "spdlog/": ("base",),
    "sentencepiece_processor.h": ("tokenizer",),
    "xgrammar/": ("grammar",),
    "cuda_runtime": ("kernels/cuda", "kernels/bench", "backend"),
    "cublas": ("backend",),
    "nccl.h": ("comm",),
    "boost/": ("server", "tools"),
    "grpcpp/": ("server",),
}


def folder_of(path: str):
    parts = path.split("/")
    if parts[0] == "kernels" and len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0] if parts[0] in ALLOWED and len(parts) > 1 else None


def main() -> int:
    bad = []
    files = [f for d in ("src", "kernels") for f in (ROOT / d).rglob("*")
             if f.suffix in (".h", ".cc", ".cu", ".cuh")]
    for f in files:
        rel = f.relative_to(ROOT).as_posix()
        own = folder_of(rel.removeprefix("src/"))
        for number, line in enumerate(f.read_text(errors="replace").splitlines(), 1):
            m = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
            if not m or own is None:
                continue
            inc, where = m.group(1), f"{rel}:{number}"
            if inc.startswith("."):
                bad.append(f"{where}: relative include {inc}")
            target = folder_of(inc)
            exists = (ROOT / "src" / inc).exists() or (ROOT / inc).exists()
            if target and exists and target != own and target not in ALLOWED[own] and not (
                    target == "base" and not own.startswith("kernels/")):
                bad.append(f"{where}: {own} may not include {target} ({inc})")
            for prefix, owners in ONLY_IN.items():
                if inc.startswith(prefix) and own not in owners:
                    bad.append(f"{where}: {inc} belongs to {', '.join(owners)} only")
    for line in bad:
        print(line)
    print(f"check_layers: {len(files)} files, {len(bad)} violations")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
