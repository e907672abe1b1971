#!/usr/bin/env bash
# Runs the steps of docker/Dockerfile.cpu without a container engine: makes the runtime stage's file
# system with the same script, then serves from it in a chroot as the image's user. With --build the
# build stage runs too, in a bare Debian 12 root, from the RUN lines of the Dockerfile.
# Usage: scripts/check_image.sh BINARY | --build
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
binary=${1:?usage: check_image.sh BINARY | --build}
[ "$(id -u)" -eq 0 ] || die "this needs root rights (chroot)"
image=$root/build/image_root
port=18931
rm -rf "$image"

build_stage() {
  local stage=$root/build/image_build mirror
  command -v debootstrap > /dev/null || die "debootstrap is missing" "apt-get install debootstrap"
  mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2> /dev/null | head -n 1 || true)
  rm -rf "$stage"
  debootstrap --variant=minbase bookworm "$stage" ${mirror:+"$mirror"} > "$root/build/debootstrap.log" ||
    die "debootstrap failed" "Its log: $root/build/debootstrap.log"
  cp /etc/resolv.conf "$stage/etc/"
  for file in /etc/apt/apt.conf.d/*proxy* /etc/pip.conf; do
    [ ! -e "$file" ] || install -D "$file" "$stage$file"
  done
  mkdir -p "$stage/src"
  git -C "$root" archive HEAD | tar x -C "$stage/src"
  mount -t proc proc "$stage/proc"
  trap 'umount "$root/build/image_build/proc"' EXIT
  awk '/^FROM/ {stage += 1} stage == 1 && /^RUN/ {sub(/^RUN /, ""); print}' "$root/docker/Dockerfile.cpu" |
    while read -r line; do
      step "RUN $line"
      chroot "$stage" bash -c "cd /src && $line" < /dev/null
    done
  mv "$stage/image" "$image"
}

if [ "$binary" = --build ]; then
  build_stage
else
  "$root/docker/make_root.sh" "$binary" "$image"
fi
echo "the image's files: $(find "$image" -type f | wc -l), $(du -sb "$image" | cut -f1) bytes"
find "$image" -type f -printf '%10s  /%P\n' | sort -rn

step "as uid 10001, with nothing else in sight"
[ ! -e "$image/bin/sh" ] || die "there is a shell in the image"
cp "$model_file" "$image/models/model.gguf"
log=$root/build/image_server.log
chroot --userspec=10001:10001 "$image" /usr/local/bin/slipstream serve /models/model.gguf \
  --host 127.0.0.1 --port "$port" --model-name image > "$log" 2>&1 &
server=$!
trap 'kill "$server" 2> /dev/null || true; rm -f "$image/models/model.gguf"' EXIT
for _ in $(seq 300); do
  kill -0 "$server" 2> /dev/null || { cat "$log" >&2; die "the server stopped"; }
  curl -sf "http://127.0.0.1:$port/ready" > /dev/null 2>&1 && break
  sleep 0.1
done
owner=$(awk '/^Uid:/ {print $2}' "/proc/$server/status")
[ "$owner" = 10001 ] || die "the server runs as uid $owner"
curl -sf "http://127.0.0.1:$port/v1/completions" -H 'content-type: application/json' \
  -d '{"prompt": "The sky is", "max_tokens": 8}' | grep -q '"completion_tokens":8' ||
  die "no answer from the server" "Its log: $log"
kill -TERM "$server"
wait "$server" || die "the server did not end well" "Its log: $log"
echo "served, and drained on SIGTERM, as uid $owner"
