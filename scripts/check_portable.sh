#!/usr/bin/env bash
# Shows that the binary needs nothing but glibc: lists its shared libraries, then starts it in a bare
# Debian root (debootstrap minbase) in which none of our packages are installed.
# Usage: scripts/check_portable.sh BINARY [--no-root]   --no-root leaves the bare root out
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
binary=${1:?usage: check_portable.sh BINARY [--no-root]}

needed=$(objdump -p "$binary" | awk '/NEEDED/ {print $2}')
echo "shared libraries: $(echo $needed)"
other=$(grep -vE '^(libc|libm|libdl|libpthread|librt|ld-linux-x86-64)\.so' <<< "$needed" || true)
[ -z "$other" ] || die "the binary needs libraries beyond glibc: $(echo $other)"
echo "newest glibc symbol: $(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)"
stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
strip -o "$stripped" "$binary"
echo "size, stripped: $(stat -c %s "$stripped") bytes"
[ "${2:-}" != --no-root ] || exit 0

[ "$(id -u)" -eq 0 ] || die "the bare root needs root rights (chroot)" "Or pass --no-root."
command -v debootstrap > /dev/null || die "debootstrap is missing" "apt-get install debootstrap"
bare=$root/build/bare_root
if [ ! -e "$bare/.ready" ]; then
  step "making a bare Debian 12 root"
  rm -rf "$bare"
  mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2> /dev/null | head -n 1 || true)
  debootstrap --variant=minbase bookworm "$bare" ${mirror:+"$mirror"} > "$root/build/debootstrap.log" ||
    die "debootstrap failed" "Its log: $root/build/debootstrap.log"
  touch "$bare/.ready"
fi
cp "$binary" "$bare/slipstream"
cp "$model_file" "$bare/model.gguf"
chroot "$bare" /slipstream --version
chroot "$bare" /slipstream bench offline /model.gguf --prompt 16 --gen 8 --repetitions 1
echo "the binary runs in a bare Debian 12 root"
