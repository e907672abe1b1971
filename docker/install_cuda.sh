#!/usr/bin/env bash
# Puts the parts of CUDA 13.0 that a build needs into one folder: nvcc, headers, the static runtime,
# cuBLASLt. They come from NVIDIA's Python packages, pinned by version and checksum, so that a build
# needs no package source besides those of the other dependencies. Used by Dockerfile.cuda; needs
# python3-pip and a GB of disk.
# Usage: install_cuda.sh [FOLDER]    (default /usr/local/cuda-13.0, with /usr/local/cuda pointing there)
set -euo pipefail
folder=${1:-/usr/local/cuda-13.0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/packages" <<'EOF'
nvidia-cuda-nvcc==13.0.88 --hash=sha256:56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
nvidia-nvvm==13.0.88 --hash=sha256:c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0
nvidia-cuda-crt==13.0.88 --hash=sha256:2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cccl==13.0.85 --hash=sha256:e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649
nvidia-cublas==13.1.0.3 --hash=sha256:ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171
EOF
python3 -m pip download -q --no-deps --only-binary=:all: --require-hashes -d "$work" -r "$work/packages"
for wheel in "$work"/*.whl; do
  python3 -m zipfile -e "$wheel" "$work/unpacked"
  rm "$wheel"
done

mkdir -p "$folder"
cp -r "$work"/unpacked/nvidia/cu13/. "$folder/"
# A zip file keeps no modes, and a wheel no links.
chmod +x "$folder"/bin/* "$folder"/nvvm/bin/*
for library in "$folder"/lib/lib*.so.*; do
  ln -sf "$(basename "$library")" "${library%%.so.*}.so"
done
ln -sfn lib "$folder/lib64"
[ "$folder" != /usr/local/cuda-13.0 ] || ln -sfn cuda-13.0 /usr/local/cuda
"$folder/bin/nvcc" --version | tail -n 2
